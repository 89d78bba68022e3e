"""The generated reference pages are fresh, and the examples are real files."""

from __future__ import annotations

from pathlib import Path

from scripts.reference import pages

from bascule.policy.config import Config
from bascule.policy.loading import load
from bascule.policy.model import leaves
from bascule.policy.problems import dotted

EXAMPLES = Path(__file__).parents[2] / "examples"


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
