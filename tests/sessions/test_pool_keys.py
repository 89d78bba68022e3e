"""The pool's keys reach the processes that act on them; the cap has a file of its own (test_cap)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.frames import BINARY, CLOSE, KEY, PONG, close, header
from tests.support.proctree import forwarders
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import Start
    from tests.support.bascule import RunningBascule
    from tests.support.rawclient import Clients
    from tests.support.rawupstream import RawUpstream

    Pool = Callable[..., RunningBascule]


@pytest.fixture
def pool(bascule: Start, upstream: RawUpstream) -> Pool:
    """Start a proxy in front of the echo; arguments are the pool's keys."""

    def start(count: int = 1, **keys: Any) -> RunningBascule:
        routes = [{"name": "all", "path": "/", "upstream": upstream.url}]
        return bascule({"routes": routes, "forwarders": {"count": count}, "websocketProxy": keys})

    return start


def test_the_bound_of_the_worker_pool_wins_over_the_number_of_forwarders(pool: Pool) -> None:
    assert len(forwarders(pool(count=3, grizzlyWorkerPoolMaxSize=2))) == 2


def test_an_idle_session_is_closed_though_heartbeats_keep_it_warm(pool: Pool, clients: Clients) -> None:
    proxy = pool(sessionIdleTimeoutMs=1000, heartbeatIntervalMs=100)
    client = clients(proxy.public_url)
    client.open()
    beats = 0
    while (said := client.frame()).opcode == PONG:
        assert said.payload == b""
        beats += 1
    assert beats >= 1
    # Not 1000 or 1001, on which JupyterLab does not come back.
    assert (said.opcode, said.code) == (CLOSE, 1012)
    client.send(close(1012, key=KEY))
    (line,) = eventually(lambda: proxy.events("session ended"), 10, "it has its line")
    assert (line["ended_by"], line["cause"]) == ("proxy", "idle")


def test_by_default_a_frame_has_at_most_32_mib(pool: Pool, clients: Clients) -> None:
    client = clients(pool().public_url)
    client.open()
    client.send(header(BINARY, (32 << 20) + 1, key=KEY))
    said = client.frame()
    assert (said.code, said.reason) == (1009, b"Frame exceeds incomingBufferBytes (33554432)")
