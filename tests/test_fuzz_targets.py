"""Every fuzz target accepts its corpus and a few hundred random inputs; `make fuzz` goes on from there."""

from __future__ import annotations

import importlib
import random
from typing import TYPE_CHECKING, get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bascule.handover.messages import Message, decode
from tests.support.parts import ROOT

if TYPE_CHECKING:
    from pathlib import Path

CORPUS = ROOT / "fuzz/corpus"
TARGETS = sorted(folder.name for folder in CORPUS.iterdir())
SEEDS = sorted(path for path in CORPUS.rglob("*") if path.is_file())


def test_every_target_has_a_corpus_and_a_row_in_the_readme() -> None:
    modules = {path.stem for path in (ROOT / "fuzz").glob("*.py")} - {"__init__", "running"}
    assert modules == set(TARGETS)
    readme = (ROOT / "fuzz/README.md").read_text(encoding="utf-8")
    assert [name for name in TARGETS if f"| `{name}` |" not in readme] == []


@pytest.mark.parametrize("seed", SEEDS, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_a_seed_is_accepted_or_refused_as_documented(seed: Path) -> None:
    importlib.import_module(f"fuzz.{seed.parent.name}").check(seed.read_bytes())


def test_the_seeds_of_messages_are_one_of_each_kind() -> None:
    # Truncated ones teach a fuzzer nothing: it has to find each layout by itself.
    seeds = [path.read_bytes() for path in SEEDS if path.parent.name == "messages"]
    assert {type(message) for seed in seeds for message in decode(seed)} == set(get_args(Message))


@pytest.mark.parametrize("name", TARGETS)
def test_random_bytes_are_accepted_or_refused_as_documented(name: str) -> None:
    target = importlib.import_module(f"fuzz.{name}")

    @settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(st.binary(max_size=600))
    def run(data: bytes) -> None:
        target.check(data)

    run()


@pytest.mark.parametrize("name", TARGETS)
def test_damaged_seeds_are_accepted_or_refused_as_documented(name: str) -> None:
    target = importlib.import_module(f"fuzz.{name}")
    chance = random.Random(6455)
    seeds = [path.read_bytes() for path in SEEDS if path.parent.name == name]
    for _ in range(300):
        data = bytearray(chance.choice(seeds))
        for _ in range(chance.randint(1, 4)):
            place = chance.randrange(len(data))
            match chance.randrange(4):
                case 0:
                    data[place] = chance.randrange(256)
                case 1:
                    del data[place : place + chance.randint(1, 8)]
                case 2:
                    data[place:place] = chance.randbytes(chance.randint(1, 8))
                case _:
                    data[place:place] = chance.choice(seeds)
            if not data:
                data = bytearray(b"\0")
        target.check(bytes(data))
