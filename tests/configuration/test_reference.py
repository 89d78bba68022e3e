"""The generated reference pages are fresh, and the examples are real files."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from scripts.chart_values import A_ROUTE
from scripts.reference import pages

from bascule.configuration.config import Config
from bascule.configuration.loading import load
from bascule.configuration.model import leaves
from bascule.configuration.problems import dotted
from bascule.configuration.route import AuthMode
from bascule.policy.routes import RouteTable

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


def hopsworks() -> RouteTable:
    config = load([EXAMPLES / "hopsworks.yaml", EXAMPLES / "hopsworks-values.yaml"], {}).config
    return RouteTable(config.routes)


@pytest.mark.parametrize(
    ("target", "upstream", "forwarded", "prefix"),
    [
        (
            b"/hopsworks-api/jupyter/8888/api/kernels/1a/channels?session_id=2b",
            "jupyter.hopsworks.svc:8888",
            b"/hopsworks-api/jupyter/8888/api/kernels/1a/channels?session_id=2b",
            b"",
        ),
        (
            b"/hopsworks-api/terminal/0123456789abcdef/ws",
            "terminal-0123456789abcdef.hopsworks.svc:7681",
            b"/hopsworks-api/terminal/0123456789abcdef/ws",
            b"",
        ),
        (
            b"/hopsworks-api/pythonapp/demo/levels/_stcore/stream",
            "levels.demo.svc:8501",
            b"/_stcore/stream",
            b"/hopsworks-api/pythonapp/demo/levels",
        ),
    ],
)
def test_hopsworks_public_paths_lead_where_its_own_proxy_takes_them(
    target: bytes, upstream: str, forwarded: bytes, prefix: bytes
) -> None:
    match = hopsworks().match(target)

    assert match is not None
    assert match.upstream.endpoint == upstream
    assert (match.target, match.prefix) == (forwarded, prefix)
    assert match.route.auth is AuthMode.SESSION


@pytest.mark.parametrize(
    "target",
    [
        b"/hopsworks-api/api/variables/versions",
        b"/hopsworks-api/jupyter/22/",
        b"/hopsworks-api/jupyter/8081/metrics",
        b"/hopsworks-api/jupyter/08888/",
        b"/hopsworks-api/terminal/1/ws",
        b"/hopsworks-api/terminal/0123456789abcdef",
        b"/hopsworks-api/pythonapp/kube-system.svc/x/",
    ],
)
def test_what_hopsworks_answers_itself_or_nobody_may_reach_is_on_no_route(target: bytes) -> None:
    assert hopsworks().match(target) is None


def test_the_charts_example_is_the_first_of_these_routes() -> None:
    (route,) = A_ROUTE
    first = yaml.safe_load((EXAMPLES / "hopsworks.yaml").read_text())["routes"][0]

    assert route.items() <= first.items()
