"""Plain requests beside the sessions: bodies up, downloads down, each answered whole or failing visibly."""

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING, Final

from tests.chaos.browsers import PATIENCE
from tests.chaos.chronicle import address
from tests.chaos.wire import LARGEST, content

if TYPE_CHECKING:
    from tests.chaos.scene import Scene

__all__ = ["ask"]

_UPSTREAM_FAILED: Final = (502, 503, 504)


async def ask(scene: Scene) -> None:
    """Send one request and read its answer; whatever fails must have a reason in what was done."""
    chronicle = scene.chronicle
    number, began = chronicle.next_number(), time.monotonic()
    dice = random.Random(f"{scene.seed}/{number}")
    size = dice.choice((0, 10, 70_000, dice.randrange(LARGEST)))
    sent = dice.choice((0, 0, 10, dice.randrange(LARGEST)))
    head = (
        f"{'POST' if sent else 'GET'} /plain/{number}?size={size}&chunked={dice.randrange(2)} HTTP/1.1\r\n"
        f"Host: front\r\nConnection: close\r\nX-Forwarded-For: {address(number)}\r\n"
        f"Content-Length: {sent}\r\n\r\n"
    )
    try:
        async with asyncio.timeout(PATIENCE):
            status, body = await _exchange(scene, head.encode(), content(number, 1, sent), dice)
    except TimeoutError:
        return chronicle.wrong(f"request {number}: neither an answer nor an end")
    except (OSError, asyncio.IncompleteReadError):
        status, body = 0, b""
    if status == 200:
        chronicle.answered += 1
        if body != content(number, 2, size):
            chronicle.wrong(
                f"request {number}: {len(body)} bytes that are not the {size} that were asked for"
            )
        return
    chronicle.failed += 1
    span = began - 1, time.monotonic()
    gone = chronicle.during(*span, "upstreams")
    cut = chronicle.during(*span, "gateway killed", "gateway hangs", "stop")
    cut += chronicle.during(*span, "reload that cuts", healing=True)
    if not (gone if status in _UPSTREAM_FAILED else status == 0 and (gone or cut)):
        chronicle.wrong(f"request {number}, begun at {chronicle.at(began)}: {status or 'cut'}, for no reason")


async def _exchange(scene: Scene, head: bytes, body: bytes, dice: random.Random) -> tuple[int, bytes]:
    reader, writer = await scene.connect()
    try:
        writer.write(head + body[:1])
        if body and dice.random() < 0.5:
            await asyncio.sleep(dice.uniform(0, 3))  # a slow sender
        writer.write(body[1:])
        await writer.drain()
        answer = (await reader.readuntil(b"\r\n\r\n")).lower()
        status = int(answer.split(b" ")[1])
        if dice.random() < 0.2:
            await asyncio.sleep(dice.uniform(0, 3))  # a slow reader
        if b"transfer-encoding: chunked" not in answer:
            length = int(answer.partition(b"content-length:")[2].split(b"\r\n")[0])
            return status, await reader.readexactly(length)
        came = b""
        while size := int(await reader.readuntil(b"\r\n"), 16):
            came += (await reader.readexactly(size + 2))[:-2]
        await reader.readexactly(2)
        return status, came
    finally:
        writer.close()
