"""One process says what another cannot read: no session ends, and each is counted once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.channels import channel_between
from tests.support.proctree import forwarders, gateway
from tests.support.rawclient import connected
from tests.support.rawupstream import run_upstream
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import Start
    from tests.support.bascule import RunningBascule
    from tests.support.rawclient import Clients, RawClient

SESSIONS = 5


@pytest.fixture
def proxy(bascule: Start) -> Iterator[RunningBascule]:
    with run_upstream() as upstream:
        yield bascule(
            {
                "routes": [{"name": "all", "path": "/", "upstream": upstream.url}],
                "forwarders": {"count": 1},
                "websocketProxy": {"maxSessionsPerApp": SESSIONS + 1},
            }
        )


def works(client: RawClient) -> bool:
    client.say(b"hello")
    return client.reply().payload == b"hello"


def is_admitted(proxy: RunningBascule) -> bool:
    """Tell whether a browser that comes now becomes a session."""
    with connected(proxy.public_url) as client:
        client.open()
        client.say(b"hello")
        return client.reply().payload == b"hello"


@pytest.mark.parametrize("reader", ["gateway", "forwarder"])
def test_a_packet_that_cannot_be_read_ends_no_session_and_each_is_counted_once(
    proxy: RunningBascule, clients: Clients, reader: str
) -> None:
    sessions = [clients(proxy.public_url) for _ in range(SESSIONS)]
    for session in sessions:
        session.open()
        assert works(session)
    ends = forwarders(proxy)[0], gateway(proxy)
    with channel_between(*(ends if reader == "gateway" else reversed(ends))) as channel:
        channel.send(b"no message of ours")
    (line,) = proxy.all_events("channel failed", 1)
    assert line["process"] == ("gateway" if reader == "gateway" else "supervisor")
    assert "unknown message type" in line["error"]
    gone = sessions.pop()
    gone.close()  # while the gateway may be without a channel
    assert all(works(session) for session in sessions)
    eventually(lambda: proxy.in_flight == SESSIONS - 1, 10, "one has ended, the others are known")
    eventually(lambda: is_admitted(proxy), 10, "the forwarder is given sessions again")
    for session in sessions:
        session.close()
    eventually(lambda: proxy.in_flight == 0, 10, "every lease comes back")
    assert len(proxy.events("channel failed")) == 1
    assert proxy.metric("bascule_sessions_lost_total") == 0
    assert proxy.metric("bascule_forwarder_restarts_total") == 0
    assert len({line["id"] for line in proxy.events("session ended")}) == len(proxy.events("session ended"))
    ended = proxy.metric("ws_connection_duration_seconds_count")
    assert ended == len(proxy.events("session ended"))
