"""How long a refusal was held is what is said of it."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from typing import TYPE_CHECKING

import pytest

from bascule.gateway.legs import PlainLeg
from bascule.gateway.refusal import Refuser
from bascule.policy.config import Limits
from bascule.protocol.frames import CloseCode
from bascule.protocol.handshake import Offer
from tests.support.frames import BINARY, KEY, TEXT, close, frame, frames_of
from tests.support.waiting import eventually_async

if TYPE_CHECKING:
    from bascule.gateway.legs import Leg

LIMITS = Limits(refusal_hold_max=30.0, max_held_refusals=1)
OFFER = Offer(b"dGhlIHNhbXBsZSBub25jZQ==", (), frozenset(), b"front", None)


class InPieces(PlainLeg):
    """Reads little at once, as if all came in short segments."""

    def __init__(self, connection: socket.socket) -> None:
        super().__init__(asyncio.get_running_loop(), connection)
        self.heard = 0

    async def read(self) -> bytes:
        data = await self._loop.sock_recv(self._socket, 1000)
        self.heard += len(data)
        return data


def refused_often() -> Refuser:
    """Return what has refused somebody so often that it holds them for half a minute now."""
    refuser = Refuser(LIMITS)
    for _ in range(10):
        refuser.hold_off.refuse("who", b"/", time.monotonic())
    return refuser


def refuse(refuser: Refuser, leg: Leg, early: bytes = b"") -> asyncio.Task[float]:
    """Refuse somebody, who said something early."""
    return asyncio.create_task(
        refuser.refuse(leg, early, OFFER, CloseCode.TRY_AGAIN_LATER, "full", "who", b"/")
    )


async def held(refuser: Refuser) -> tuple[socket.socket, asyncio.Task[float]]:
    """Refuse somebody who is held; the 101 has come."""
    browser, ours = connected()
    refusal = refuse(refuser, PlainLeg(asyncio.get_running_loop(), ours))
    assert await asyncio.get_running_loop().sock_recv(browser, 4096)
    return browser, refusal


async def told(browser: socket.socket) -> list[tuple[int | None, bytes]]:
    """Return the Close frames that come up to the end of the connection, which is no reset."""
    said = b""
    while data := await asyncio.wait_for(asyncio.get_running_loop().sock_recv(browser, 4096), 5):
        said += data
    browser.close()
    return [(found.code, found.reason) for found in frames_of(said.rpartition(b"\r\n\r\n")[2])]


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("said", [0, 90])
async def test_a_browser_that_leaves_was_held_until_then(reset: bool, said: int) -> None:
    refuser = refused_often()
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
    refuser = refused_often()
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


MESSAGE = frame(BINARY, b"\x88\x00" * 4000, key=bytes(4))
"""What a page says in several segments, each of which looks as if it began with a Close."""


@pytest.mark.parametrize("early", [0, 1, 3, 2000])
async def test_what_a_held_browser_says_in_segments_is_not_taken_for_a_close(early: int) -> None:
    refuser = refused_often()
    browser, ours = connected()
    leg = InPieces(ours)
    refusal = refuse(refuser, leg, MESSAGE[:early])
    browser.send(MESSAGE[early:])
    await eventually_async(lambda: leg.heard == len(MESSAGE) - early, 5, "it is read")
    assert refuser.held == 1
    browser.send(close(1000, key=KEY))
    assert await told(browser) == [(1013, b"full")]
    assert await refusal < 5


async def test_a_refused_browser_that_says_much_is_heard_out() -> None:
    browser, ours = connected()
    refusal = refuse(Refuser(LIMITS), InPieces(ours))
    browser.send(MESSAGE + close(1013, key=KEY))
    assert await told(browser) == [(1013, b"full")]
    await refusal


async def test_a_browser_that_says_close_with_its_request_is_not_held() -> None:
    browser, ours = connected()
    refusal = refuse(refused_often(), InPieces(ours), frame(TEXT, b"hello?", key=KEY) + close(1000, key=KEY))
    assert await told(browser) == [(1013, b"full")]
    assert await refusal == 0


def connected() -> tuple[socket.socket, socket.socket]:
    """Return both ends of a TCP connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        browser = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()
    browser.setblocking(False)
    ours.setblocking(False)
    return browser, ours
