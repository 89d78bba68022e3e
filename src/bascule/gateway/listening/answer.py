"""HTTP answers on a connection outside aiohttp: our own errors, and an upstream's answer instead of 101.

The connection ends with either answer: we do not guess what would follow on a connection
whose upgrade failed.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from bascule.gateway.connections.farewell import farewell, say_last
from bascule.gateway.connections.patience import Patience
from bascule.gateway.listening.dateline import date_line
from bascule.gateway.listening.errorpages import error_page, reason_phrase
from bascule.policy.forwarding import end_to_end_fields
from bascule.protocol.body import ChunkScanner
from bascule.protocol.http1 import BadHead

if TYPE_CHECKING:
    from bascule.errors import RequestRefused
    from bascule.gateway.connections.legs import Leg
    from bascule.gateway.upstreams.handshake import Answered

__all__ = ["error_answer", "error_bytes", "leave", "relay_answer"]


async def error_answer(leg: Leg, refused: RequestRefused, accept: bytes | None = None) -> None:
    """Answer with an error of ours and close the leg.

    Args:
        leg: The client's connection.
        refused: What to say.
        accept: What a plain request says in ``Accept``; ``None`` for an upgrade.

    Raises:
        OSError: The connection failed, or the client makes no room for the answer; it is closed.
    """
    try:
        await say_last(leg, error_bytes(refused, accept))
        await leave(leg)
    finally:
        leg.close()


def error_bytes(refused: RequestRefused, accept: bytes | None = None) -> bytes:
    """Build an error of ours, as `error_answer` writes it."""
    page_fields, body = error_page(refused.status, refused.detail, accept)
    # A sender of Upgrade must name it in Connection (RFC 9110 §7.8).
    is_upgrade_named = any(name == b"Upgrade" for name, _ in refused.fields)
    lines = [
        b"HTTP/1.1 %d %b" % (refused.status, reason_phrase(refused.status).encode()),
        *(b"%b: %b" % field for field in page_fields),
        b"Content-Length: %d" % len(body),
        b"Connection: close, upgrade" if is_upgrade_named else b"Connection: close",
        *(b"%b: %b" % field for field in refused.fields),
    ]
    return b"\r\n".join(lines) + b"\r\n" + date_line() + b"\r\n" + body


async def relay_answer(leg: Leg, answered: Answered, within: float) -> None:
    """Relay what the upstream said instead of 101, byte for byte, and close both legs.

    ``Date`` is added if the answer lacks one (RFC 9110 §6.6.1). If the answer breaks off, or takes too
    long, the browser can tell: by the framing, or by a reset if only the end of the connection ends it.

    Args:
        leg: The browser's connection.
        answered: The answer's head, and where its body comes from.
        within: Seconds for the whole answer.

    Cancellation: both legs are closed, the browser's with a reset.
    """
    head = answered.head
    lines = [b"HTTP/1.1 %d %b" % (head.status, head.reason)]
    lines += [b"%b: %b" % field for field in end_to_end_fields(head.fields, head.status)]
    if answered.framing.chunked:
        lines.append(b"Transfer-Encoding: chunked")
    lines.append(b"Connection: close\r\n")
    date = b"" if head.values(b"date") else date_line()
    try:
        async with Patience(within):
            await leg.write(b"\r\n".join(lines) + date + b"\r\n")
            await _relay_body(leg, answered)
        with contextlib.suppress(OSError):
            await leave(leg)
    except (OSError, BadHead):
        if not answered.framing.chunked and answered.framing.length < 0:
            leg.reset()
    except asyncio.CancelledError:
        leg.reset()  # a plain end of the connection could pass for the end of the answer
        raise
    finally:
        answered.leg.close()
        leg.close()


async def _relay_body(leg: Leg, answered: Answered) -> None:
    scanner = ChunkScanner() if answered.framing.chunked else None
    left = answered.framing.length
    data = answered.early
    while left:
        if not data:
            data = await answered.leg.read()
            if not data:
                return
        if scanner is not None:
            data = data[: scanner.feed(data)]
        elif left > 0:
            data = data[:left]
            left -= len(data)
        await leg.write(data)
        # If reads and writes never wait, other tasks get no turn, and the time-out does not fire.
        await asyncio.sleep(0)
        data = b""
        if scanner is not None and scanner.done:
            return


async def leave(leg: Leg) -> None:
    """Tell the client that the answer is complete, and read what it still sends."""
    leg.end()
    await farewell(leg, is_last=lambda _: False)
