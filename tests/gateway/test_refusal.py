"""How long a refusal was held is what is said of it."""

from __future__ import annotations

import asyncio
import socket
import struct
import time

import pytest

from bascule.gateway.legs import PlainLeg
from bascule.gateway.refusal import Refuser
from bascule.policy.config import Limits
from bascule.protocol.frames import CloseCode
from bascule.protocol.handshake import Offer
from tests.support.frames import KEY, TEXT, close, frame, frames_of

LIMITS = Limits(refusal_hold_max=30.0, max_held_refusals=1)
OFFER = Offer(b"dGhlIHNhbXBsZSBub25jZQ==", (), frozenset(), b"front", None)


async def held(refuser: Refuser) -> tuple[socket.socket, asyncio.Task[float]]:
    """Refuse somebody who has been refused often, and so is held for half a minute; the 101 has come."""
    for _ in range(10):
        refuser.hold_off.refuse("who", b"/", time.monotonic())
    browser, ours = connected()
    leg = PlainLeg(asyncio.get_running_loop(), ours)
    refusal = asyncio.create_task(refuser.refuse(leg, OFFER, CloseCode.TRY_AGAIN_LATER, "full", "who", b"/"))
    assert await asyncio.get_running_loop().sock_recv(browser, 4096)
    return browser, refusal


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("said", [0, 90])
async def test_a_browser_that_leaves_was_held_until_then(reset: bool, said: int) -> None:
    refuser = Refuser(LIMITS)
    browser, refusal = await held(refuser)
    for _ in range(said):
        browser.send(frame(TEXT, b"hello?", key=KEY))
        await asyncio.sleep(0)  # each is read for itself
    if reset:
        browser.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    browser.close()
    assert await asyncio.wait_for(refusal, 5) < 5
    assert refuser.held == 0


async def test_a_held_browser_that_says_close_is_answered_at_once() -> None:
    refuser = Refuser(LIMITS)
    browser, refusal = await held(refuser)
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(browser, frame(TEXT, b"hello?", key=KEY))
    await asyncio.sleep(0)
    await loop.sock_sendall(browser, close(1000, key=KEY))
    (said,) = frames_of(await asyncio.wait_for(loop.sock_recv(browser, 4096), 5))
    assert (said.code, said.reason) == (1013, b"full")
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
