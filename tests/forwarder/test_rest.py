"""A forwarder at rest does nothing: however its peers leave while bytes wait for one of them.

Which ends epoll reports, and how often, is the kernel's to say, and differs between TCP and Unix sockets. So
these tests try all pairs of ways to leave, on real connections, and see whether the engine then waits.
"""

from __future__ import annotations

import contextlib
import itertools
import socket
from typing import TYPE_CHECKING, Any, Final

import pytest

from bascule.protocol.closing import End
from tests.support.frames import BINARY, KEY, close, frame
from tests.support.relaying import world

if TYPE_CHECKING:
    from tests.support.farends import Peer
    from tests.support.relaying import Line, World

CLOSING: Final = 5.0
LEAVING: Final = ("half-closes", "shuts reading", "shuts both", "closes", "resets", "says Close", "nothing")


def _leave(peer: Peer, how: str, key: bytes | None) -> None:
    """Let a peer do something, as far as it still can."""
    if peer.socket.fileno() < 0:
        return
    directions = {
        "half-closes": socket.SHUT_WR,
        "shuts reading": socket.SHUT_RD,
        "shuts both": socket.SHUT_RDWR,
    }
    match how:
        case "closes":
            peer.close()
        case "resets":
            peer.reset()
        case "says Close":
            peer.send(close(1000, b"", key))
        case "nothing":
            pass
        case _:
            with contextlib.suppress(OSError):  # it is over already
                peer.socket.shutdown(directions[how])


def _waiting(world: World, key: bytes | None, both: bool) -> Line:
    """Return a line with bytes that wait for the peer that takes nothing; or for both."""
    line = world.open(limit=1 << 30, send=4608, receive=4096)
    line.browser.stalled = line.upstream.stalled = True
    if key or both:
        line.browser.send(frame(BINARY, bytes(60_000), key=KEY))
    if not key or both:
        line.upstream.send(frame(BINARY, bytes(60_000)))
    session = world.relay.sessions[line.id]
    world.until(lambda: (session.inbound if key else session.outbound).stashed, "something waits")
    return line


@pytest.mark.parametrize("unix", [False, True], ids=["tcp", "unix"])
@pytest.mark.parametrize("key", [KEY, None], ids=["inbound", "outbound"])
@pytest.mark.parametrize("both", [False, True], ids=["one-waits", "both-wait"])
@pytest.mark.parametrize("ordered", [False, True], ids=["alive", "ending"])
def test_a_session_whose_peers_leave_in_any_way_comes_to_rest_and_to_an_end(
    build: Any, key: bytes | None, both: bool, unix: bool, ordered: bool
) -> None:
    for first, second in itertools.product(LEAVING, repeat=2):
        with world(build, window=4096, unix=unix, closing=CLOSING) as made:
            line = _waiting(made, key, both)
            if ordered:
                made.relay.end(line.id, End.DRAIN)
            sender, receiver = (line.browser, line.upstream) if key else (line.upstream, line.browser)
            _leave(receiver, first, None if key else KEY)
            made.quiet()
            _leave(sender, second, key)
            made.quiet()
            assert made.comes_to_rest(), (first, second)
            line.browser.close()
            line.upstream.close()
            made.quiet()
            for _ in range(3):
                made.later(61.0)
            assert len(made.reports) == 1, (first, second)
