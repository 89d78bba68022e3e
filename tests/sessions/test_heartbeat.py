"""Heartbeats reach a browser however its connection came to us: the gateway pumps TLS, Unix sockets know no
TCP option, and a PROXY header is cut off in front of the request."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.frames import CLOSE, PING, PONG
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import Start
    from tests.support.bascule import RunningBascule
    from tests.support.certificates import Certificate
    from tests.support.rawclient import Clients, RawClient
    from tests.support.rawupstream import RawUpstream

ANNOUNCED = b"PROXY TCP4 203.0.113.7 198.51.100.1 56324 443\r\n"
BEATS = 3


@pytest.fixture(params=["tcp", "tls", "unix", "announced", "announced-tls"])
def way(request: pytest.FixtureRequest) -> str:
    """How a browser gets to us."""
    return str(request.param)


@pytest.fixture
def listening(way: str, certificate: Certificate) -> Iterator[dict[str, Any]]:
    """The configuration of a listener for that."""
    with contextlib.ExitStack() as undo:
        config: dict[str, Any] = {}
        if way == "unix":
            folder = undo.enter_context(tempfile.TemporaryDirectory(prefix="bascule-"))
            config["listen"] = f"unix:{folder}/public.sock"
        if way.startswith("announced"):
            config["proxyProtocolFrom"] = ["127.0.0.1"]
        if way.endswith("tls"):
            config["tls"] = certificate.block()
        yield config


Enter = Callable[..., tuple["RunningBascule", "RawClient"]]


@pytest.fixture
def enter(
    way: str,
    listening: dict[str, Any],
    certificate: Certificate,
    bascule: Start,
    upstream: RawUpstream,
    clients: Clients,
) -> Enter:
    """Open a session in that way with a proxy whose limits are given."""

    def enter(**limits: Any) -> tuple[RunningBascule, RawClient]:
        proxy = bascule(
            {
                "routes": [{"name": "all", "path": "/", "upstream": upstream.url}],
                "forwarders": {"count": 1},
                "websocketProxy": {"heartbeatIntervalMs": 100},
                "limits": limits,
                **listening,
            }
        )
        browser = clients(proxy.public_url)
        if way.startswith("announced"):
            browser.send(ANNOUNCED)
        if way.endswith("tls"):
            browser.socket = certificate.client().wrap_socket(browser.socket, server_hostname="localhost")
        browser.open()
        return proxy, browser

    return enter


def test_a_browser_that_says_nothing_hears_of_us(enter: Enter) -> None:
    proxy, browser = enter()

    beats = browser.frames(BEATS)

    assert {(beat.opcode, beat.fin, beat.payload, beat.key) for beat in beats} == {(PONG, True, b"", None)}
    browser.say(b"hello")
    assert browser.reply().payload == b"hello"
    eventually(lambda: proxy.metric("bascule_heartbeats_total") >= BEATS, 10, "they are counted")


def test_one_that_has_to_answer_and_does_not_is_let_go(enter: Enter) -> None:
    proxy, browser = enter(pongTimeout="1s")

    beats, timed = 0, list[dict[str, Any]]()
    while beats < 3 * BEATS or not timed:
        ping = browser.frame()
        assert (ping.opcode, ping.key) == (PING, None)
        browser.say(ping.payload, PONG)
        beats += 1
        if not timed:  # it is asked while it answers: later it may have been let go
            timed = [row for row in proxy.sessions() if row["roundTrip"] is not None]
    (row,) = timed
    assert 0 <= row["roundTrip"] < 10
    assert proxy.metric("bascule_browser_round_trip_seconds_count") > 0
    while (last := browser.frame()).opcode == PING:
        pass

    assert (last.opcode, last.code) == (CLOSE, 1012)
    (end,) = proxy.all_events("session ended", 1)
    assert (end["ended_by"], end["cause"], end["frames_inbound"]) == ("client", "timeout", 0)
