"""What each key means, read from its model's source."""

from __future__ import annotations

import inspect
import subprocess
import sys
from typing import TYPE_CHECKING

from bascule.configuration.config import Config
from bascule.configuration.descriptions import DescribedSchema, descriptions
from bascule.configuration.model import Block, blocks
from bascule.configuration.route import RouteConfig

if TYPE_CHECKING:
    import pytest


class Above(Block):
    """A block that another one adds to."""

    first_key: int = 1
    """The first.

    In two paragraphs.
    """
    silent: int = 2
    other_key: int = 4
    """Something else."""


class Below(Above):
    """One more key, and one that means something else here."""

    other_key: int = 5
    last_key: int = 3
    """The last."""

    def first_key_again(self) -> int:
        """Return something that is no key."""
        return self.first_key


def test_every_key_says_what_it_means() -> None:
    models: list[type[Block]] = [Config, RouteConfig, *(block for _, block, _ in blocks(Config))]

    keys = [(model, field.alias) for model in models for field in model.model_fields.values()]

    assert [(model, key) for model, key in keys if not descriptions(model).get(str(key))] == []


def test_a_key_is_described_by_the_string_behind_it_in_its_own_block_or_the_one_it_builds_on() -> None:
    assert descriptions(Below) == {
        "firstKey": "The first.\n\nIn two paragraphs.",
        "lastKey": "The last.",
    }


def test_a_schema_has_the_descriptions_only_if_it_is_asked_for_them() -> None:
    described = Below.model_json_schema(schema_generator=DescribedSchema)["properties"]
    bare = Below.model_json_schema()["properties"]

    assert described["lastKey"] == bare["lastKey"] | {"description": "The last."}
    assert described["silent"] == bare["silent"]


def test_a_schema_can_be_had_where_there_is_no_source(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_: object) -> str:
        raise OSError("could not get source code")

    monkeypatch.setattr(inspect, "getsource", missing)

    assert Below.model_json_schema(schema_generator=DescribedSchema) == Below.model_json_schema()


def test_to_load_a_configuration_reads_no_source() -> None:
    program = (
        "import sys, bascule.configuration.loading as l; l.load(None, {'BASCULE_ADMINTOKEN': 't'});"
        "print('bascule.configuration.descriptions' in sys.modules)"
    )

    said = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, timeout=60)

    assert said.stdout == b"False\n"
