"""What a route may hold of the cap: a refusal of its own, and room for the others, whatever becomes of us."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.proctree import gateway, kill
from tests.support.rawclient import RawClient, connect
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import Start
    from tests.support.bascule import RunningBascule
    from tests.support.rawupstream import RawUpstream

ROUTE_FULL = (1013, b"WebSocket session cap of this route reached (maxSessions)")
FULL = (1013, b"WebSocket session cap reached (maxSessionsPerApp)")


def routes(upstream: RawUpstream, most: int | None) -> list[dict[str, Any]]:
    return [
        {"name": "app", "path": "/app", "upstream": upstream.url, "maxSessions": most},
        {"name": "lab", "path": "/lab", "upstream": upstream.url},
    ]


@pytest.fixture
def proxy(bascule: Start, upstream: RawUpstream) -> RunningBascule:
    """Run a proxy that takes four sessions, two of them on the first route."""
    return bascule({"routes": routes(upstream, 2), "websocketProxy": {"maxSessionsPerApp": 4}})


@pytest.fixture
def viewers(proxy: RunningBascule) -> Iterator[list[RawClient]]:
    """Fill the route."""
    clients = [opened(proxy, b"/app"), opened(proxy, b"/app")]
    yield clients
    for client in clients:
        client.close()


def opened(proxy: RunningBascule, path: bytes) -> RawClient:
    client = connect(proxy.public_url)
    client.open(path)
    client.say(b"hello")
    assert client.reply().payload == b"hello"
    return client


def refused(proxy: RunningBascule, path: bytes) -> tuple[int | None, bytes]:
    with closing(connect(proxy.public_url)) as client:
        client.open(path)
        said = client.refusal()
        return said.code, said.reason


def test_a_full_route_leaves_room_for_others_and_is_no_rejection(
    proxy: RunningBascule, viewers: list[RawClient], upstream: RawUpstream
) -> None:
    before = len(upstream.calls)
    assert refused(proxy, b"/app") == ROUTE_FULL
    assert len(upstream.calls) == before  # not touched
    assert proxy.metric("bascule_refusals_total", reason="route_cap") == 1
    assert proxy.metric("ws_connection_rejections_total") == 0
    assert proxy.metric("bascule_route_sessions", route="app") == 2
    assert proxy.metric("bascule_route_max_sessions", route="app") == 2
    (line,) = eventually(lambda: proxy.events("session refused"), 5, "it is said")
    assert (line["reason"], line["route"], line["close_code"]) == ("route_cap", "app", 1013)

    with closing(opened(proxy, b"/lab")), closing(opened(proxy, b"/lab")):
        # The contract's word for a full pod holds on every route.
        assert [refused(proxy, path) for path in (b"/lab", b"/app")] == [FULL, FULL]
        assert proxy.metric("ws_connection_rejections_total") == 2

    viewers.pop().close()
    eventually(lambda: proxy.metric("bascule_route_sessions", route="app") == 1, 10, "it is over")
    opened(proxy, b"/app").close()


def test_a_route_is_as_full_after_the_gateways_death(proxy: RunningBascule, viewers: list[RawClient]) -> None:
    kill(gateway(proxy))
    eventually(lambda: (proxy.in_flight_if_up or 0) == 2, 20, "another gateway has the sessions")
    assert refused(proxy, b"/app") == ROUTE_FULL
    opened(proxy, b"/lab").close()


def test_a_reload_changes_how_many_a_route_takes_and_ends_none(
    proxy: RunningBascule, viewers: list[RawClient], upstream: RawUpstream
) -> None:
    proxy.goes_over(5, routes=routes(upstream, 1))
    assert refused(proxy, b"/app") == ROUTE_FULL
    for client in viewers:
        client.say(b"still here")
        assert client.reply().payload == b"still here"

    proxy.goes_over(6, routes=routes(upstream, 3))
    with closing(opened(proxy, b"/app")):
        assert refused(proxy, b"/app") == ROUTE_FULL
