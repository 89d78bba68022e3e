"""The generated reference pages are fresh, and the examples are real files."""

from __future__ import annotations

from pathlib import Path

import pytest
from scripts.reference import ROOT, pages

from bascule.policy.config import Config
from bascule.policy.loading import load
from bascule.policy.model import leaves
from bascule.policy.problems import dotted

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize("name", sorted(pages()))
def test_a_generated_page_is_fresh(name: str) -> None:
    """Run ``python -m scripts.reference`` when this fails."""
    assert (ROOT / name).read_text(encoding="utf-8") == pages()[name]


def test_every_key_has_its_heading() -> None:
    page = pages()["configuration.md"]

    assert [dotted(path) for path, _ in leaves(Config) if f"### `{dotted(path)}`" not in page] == []


def test_the_example_is_a_good_configuration() -> None:
    config = load(EXAMPLES / "bascule.yaml", {}).config

    assert [route.name for route in config.routes] == ["lab", "terminal", "app"]


def test_the_hopsworks_example_brings_its_cap() -> None:
    config = load([EXAMPLES / "bascule.yaml", EXAMPLES / "hopsworks-values.yaml"], {}).config

    assert config.websocket_proxy.max_sessions_per_app == 800
    assert len(config.routes) == 3
