"""A real Prometheus scrapes the admin listener and finds the contract's series."""

import contextlib
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.support.bascule import RunningBascule
from tests.support.contract import CONTRACT
from tests.support.echo import run_echo
from tests.support.processes import reserve_port
from tests.support.prometheus import Prometheus, check_metrics, run_prometheus
from tests.support.waiting import eventually

pytestmark = pytest.mark.real

CAP: Final = 2
GAUGES: Final = {
    "ws_connection_in_flight_count": CAP,
    "ws_pool_max_connections": CAP,
    "ws_connection_rejections_total": 1,
    "ws_upstream_connect_failures_total": 1,
    "ws_connection_duration_seconds_count": 1,
}
"""Series whose value the fixture's sessions determine."""

PRESENT: Final = (
    "ws_connection_in_flight_max_age_seconds",
    "ws_pool_cpu_cores",
    "ws_pool_alloc_bytes_per_second",
    "ws_connection_duration_seconds_sum",
    "ws_connection_duration_seconds_max",
    "ws_connection_duration_seconds_mean",
)
QUANTILES: Final = {"0.5", "0.75", "0.95", "0.98", "0.99", "0.999"}

DISLIKED_BY_CONTRACT: Final = {
    'ws_connection_in_flight_count non-histogram and non-summary metrics should not have "_count" suffix',
}
"""What promtool says about a name that the contract fixes. It may say nothing else."""


def closed_with(address: str) -> int | None:
    """Connect, and return the code the connection is closed with."""
    with connect(address) as connection:
        with contextlib.suppress(ConnectionClosed):
            connection.recv(timeout=10)
        return connection.close_code


@pytest.fixture
def proxy(bascule: Callable[..., RunningBascule]) -> Iterator[RunningBascule]:
    """A full proxy: two sessions open, one closed, one refused, and one whose upstream is not there."""
    with run_echo() as echo, contextlib.ExitStack() as still_open:
        started = bascule(
            {
                "websocketProxy": {"maxSessionsPerApp": CAP},
                "routes": [
                    {"name": "echo", "path": "/echo/", "upstream": echo},
                    {"name": "dead", "path": "/dead/", "upstream": f"http://127.0.0.1:{reserve_port()}"},
                ],
            }
        )
        address = started.public_url.replace("http", "ws", 1)
        with connect(f"{address}/echo/") as session:
            session.send("hello")
            assert session.recv(timeout=10) == "hello"
        eventually(lambda: not started.sessions(), 10, "the first session is over")
        assert closed_with(f"{address}/dead/") == 1013
        for _ in range(CAP):
            still_open.enter_context(connect(f"{address}/echo/"))
        assert closed_with(f"{address}/echo/") == 1013
        yield started


@pytest.fixture
def prometheus(proxy: RunningBascule, tmp_path: Path) -> Iterator[Prometheus]:
    """A Prometheus that has scraped the proxy."""
    home = tmp_path / "prometheus"
    home.mkdir()
    with run_prometheus(home, proxy.admin_url.removeprefix("http://")) as running:
        eventually(lambda: running.query('up{job="bascule"} == 1'), 20, "the proxy is scraped")
        yield running


def series_of(prometheus: Prometheus, name: str) -> list[dict[str, Any]]:
    """Return a metric's series. There are none for a second where a scrape has come too late."""
    return eventually(lambda: prometheus.query(f'{name}{{mp_scope="application"}}'), 20, name)


def value_of(prometheus: Prometheus, name: str) -> float:
    (found,) = series_of(prometheus, name)
    return float(found["value"][1])


def test_the_series_of_the_contract_are_there_with_their_values(prometheus: Prometheus) -> None:
    assert {name: value_of(prometheus, name) for name in GAUGES} == GAUGES
    assert all(value_of(prometheus, name) >= 0 for name in PRESENT)
    quantiles = series_of(prometheus, "ws_connection_duration_seconds")
    assert {found["metric"]["quantile"] for found in quantiles} == QUANTILES


def test_the_rejection_panel_has_an_answer(prometheus: Prometheus) -> None:
    panel = "sum(rate(ws_connection_rejections_total[1m]))"

    assert eventually(lambda: prometheus.query(panel), 20, "two scrapes")


def test_the_exposition_is_clean_and_typed_as_documented(proxy: RunningBascule) -> None:
    with urllib.request.urlopen(f"{proxy.admin_url}/metrics?scope=application", timeout=10) as answer:
        exposition = answer.read()

    assert set(check_metrics(exposition)) <= DISLIKED_BY_CONTRACT
    lines = exposition.decode().splitlines()
    assert {name: f"# TYPE {name} {kind}" in lines for name, kind in CONTRACT.items()} == dict.fromkeys(
        CONTRACT, True
    )
