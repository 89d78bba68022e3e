"""HTTP answers that end a connection which is no aiohttp's: our own errors, and the upstream's to an upgrade.

The connection ends with either: what follows on a connection whose upgrade failed is
not worth guessing at.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from bascule.gateway.clock import date_line
from bascule.gateway.errorpages import error_page, reason_phrase
from bascule.gateway.legs import farewell
from bascule.policy.forwarding import end_to_end_fields
from bascule.protocol.http1 import BadHead, ChunkScanner

if TYPE_CHECKING:
    from bascule.errors import HandshakeRefused
    from bascule.gateway.legs import Leg
    from bascule.gateway.upstream import Answered


async def error_answer(leg: Leg, refused: HandshakeRefused, accept: bytes | None = None) -> None:
    """Answer with an error of ours and close the leg.

    Args:
        leg: The client's connection.
        refused: What to say.
        accept: What a plain request says in ``Accept``; ``None`` for an upgrade.

    Raises:
        OSError: The connection failed; it is closed.
    """
    try:
        await leg.write(error_bytes(refused, accept))
        await leave(leg)
    finally:
        leg.close()


def error_bytes(refused: HandshakeRefused, accept: bytes | None = None) -> bytes:
    """Build an error of ours, as `error_answer` writes it."""
    page_fields, body = error_page(refused.status, refused.detail, accept)
    # Whoever sends Upgrade must name it in Connection (RFC 9110 §7.8).
    options = ["close", *("upgrade" for name, _ in refused.fields if name == "Upgrade")]
    lines = [
        f"HTTP/1.1 {refused.status} {reason_phrase(refused.status)}",
        *(f"{name.decode()}: {value.decode()}" for name, value in page_fields),
        f"Content-Length: {len(body)}",
        f"Connection: {', '.join(options)}",
        *(f"{name}: {value}" for name, value in refused.fields),
    ]
    return "\r\n".join(lines).encode() + b"\r\n" + date_line() + b"\r\n" + body


async def relay_answer(leg: Leg, answered: Answered, within: float) -> None:
    """Relay what the upstream said instead of 101, byte for byte, and close both legs.

    Only ``Date`` is added where it lacks one (RFC 9110 §6.6.1). An answer that breaks off, or takes too
    long, is seen to be broken: by its framing, or by a reset where the end of the connection is its end.

    Args:
        leg: The browser's connection.
        answered: The answer's head, and where its body comes from.
        within: Seconds it may take.
    """
    head = answered.head
    lines = [b"HTTP/1.1 %d %b" % (head.status, head.reason)]
    lines += [b"%b: %b" % field for field in end_to_end_fields(head.fields, head.status)]
    if answered.framing.chunked:
        lines.append(b"Transfer-Encoding: chunked")
    lines.append(b"Connection: close\r\n")
    date = b"" if head.values(b"date") else date_line()
    try:
        async with asyncio.timeout(within):
            await leg.write(b"\r\n".join(lines) + date + b"\r\n")
            await _relay_body(leg, answered)
        with contextlib.suppress(OSError):
            await leave(leg)
    except (OSError, BadHead):
        if not answered.framing.chunked and answered.framing.length < 0:
            leg.reset()
    except asyncio.CancelledError:
        leg.reset()  # we leave; the plain end of a connection may be the end of the answer
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
        # Reading and writing without waiting gives nobody else a turn, the time-out neither.
        await asyncio.sleep(0)
        data = b""
        if scanner is not None and scanner.done:
            return


async def leave(leg: Leg) -> None:
    """Let the client know that this was all, and hear it out."""
    leg.end()
    await farewell(leg, is_last=lambda _: False)
