"""What the gateway does for a session with TLS shows, in its own figure and in no forwarder's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from tests.support.frames import BINARY, frame
from tests.support.proctree import cpu_seconds, gateways, kill
from tests.support.rawclient import connected
from tests.support.rawupstream import Call, RawUpstream, switch
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from tests.conftest import Start
    from tests.support.bascule import RunningBascule
    from tests.support.certificates import Certificate

CPU: Final = "bascule_gateway_cpu_seconds_total"
PIECE: Final = 1 << 20
PIECES: Final = 200


@pytest.fixture
def secure(bascule: Start, upstream: RawUpstream, certificate: Certificate) -> RunningBascule:
    upstream.scripts[b"/stream"] = stream
    return bascule(
        {
            "routes": [{"name": "all", "path": "/", "upstream": upstream.url}],
            "forwarders": {"count": 1},
            "tls": certificate.block(),
        }
    )


def stream(call: Call) -> None:
    """Send as much as the test wants, once it says so."""
    switch(call)
    call.frame()
    piece = frame(BINARY, bytes(PIECE))
    for _ in range(PIECES):
        call.send(piece)
    call.until_over()


def move(bascule: RunningBascule, certificate: Certificate) -> None:
    """Let a session move all pieces to a browser with TLS."""
    url = bascule.public_url
    with connected(url, certificate.client()) as client:
        client.open(b"/stream")
        client.say(b"go")
        room, left = bytearray(1 << 20), PIECES * PIECE
        while left > 0:
            left -= client.socket.recv_into(room)


def test_a_session_over_tls_shows_in_the_gateways_cpu(
    secure: RunningBascule, certificate: Certificate
) -> None:
    (pid,) = gateways(secure)
    idle = cpu_seconds(pid)
    eventually(lambda: secure.metric(CPU) >= idle, 10, "the figure of the idle gateway")
    before = secure.metric(CPU)
    move(secure, certificate)
    used = cpu_seconds(pid) - idle

    assert used > 0.05, "the gateway encrypts all of it"
    eventually(lambda: secure.metric(CPU) - before >= 0.8 * used, 10, "its CPU shows")
    shown = secure.metric(CPU) - before
    assert shown <= cpu_seconds(pid) - idle + 0.1, "and no more, the answers to us included"
    assert secure.metric("bascule_gateway_wait_seconds_total") > 0


def test_a_gateways_cpu_outlives_it_and_a_reload(secure: RunningBascule, certificate: Certificate) -> None:
    move(secure, certificate)
    (pid,) = gateways(secure)
    spent = cpu_seconds(pid)
    kill(pid)
    eventually(lambda: secure.in_flight_if_up == 0, 20, "another gateway serves")
    assert secure.metric(CPU) >= 0.9 * spent

    before = secure.metric(CPU, gateway="0")
    secure.goes_over(77)
    assert secure.metric(CPU, gateway="0") >= before
    eventually(lambda: secure.metric(CPU, gateway="1") > 0, 10, "that of the next gateway, in its own place")
