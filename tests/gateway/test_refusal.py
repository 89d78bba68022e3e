"""How long a refusal was held is what is said of it."""

from __future__ import annotations

import asyncio
import socket
import struct
import time

import pytest

from bascule.gateway.legs import PlainLeg
from bascule.gateway.refusal import Refuser
from bascule.protocol.frames import CloseCode
from bascule.protocol.handshake import Offer

OFFER = Offer(b"dGhlIHNhbXBsZSBub25jZQ==", (), frozenset(), b"front", None)


@pytest.mark.parametrize("reset", [False, True])
async def test_a_browser_that_leaves_was_held_until_then(reset: bool) -> None:
    refuser = Refuser(30.0, 1)
    for _ in range(10):
        refuser.hold_off.refuse("who", b"/", time.monotonic())
    browser, ours = connected()
    leg = PlainLeg(asyncio.get_running_loop(), ours)
    refusal = asyncio.create_task(refuser.refuse(leg, OFFER, CloseCode.TRY_AGAIN_LATER, "full", "who", b"/"))
    await asyncio.get_running_loop().sock_recv(browser, 4096)
    if reset:
        browser.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    browser.close()
    assert await asyncio.wait_for(refusal, 5) < 5
    assert refuser.held == 0


def connected() -> tuple[socket.socket, socket.socket]:
    """Return both ends of a TCP connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        browser = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()
    browser.setblocking(False)
    ours.setblocking(False)
    return browser, ours
