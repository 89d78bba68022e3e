"""Where the body of a request ends, by our own reading, while aiohttp reads it by its own.

A handshake that is forged in a body must not pass for a head. So we look for the next head only where both
readings agree: chunks are followed as long as they can be read in one way only. If they cannot, all that
follows counts as the body, and the connection ends with the request (`is_last`).

Rules of this file: it reads no byte of a body that has a length, and never waits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import hdrs

from bascule.protocol.body import ChunkScanner
from bascule.protocol.http1 import BadHead

if TYPE_CHECKING:
    from aiohttp import StreamReader
    from aiohttp.http import RawRequestMessage

__all__ = ["BodySpan"]


class BodySpan:
    """The part of a body that is still to come.

    Args:
        message: The head, which aiohttp has parsed.
        body: Where aiohttp puts the body; not at its end yet.

    Attributes:
        body: The same.
        is_over: Whether the body has come to its end: the next byte is the first of another request.
        ended_plainly: Whether we have seen the end of chunks without extensions and trailers.
    """

    __slots__ = ("_chunks", "_left", "body", "ended_plainly", "is_over")

    def __init__(self, message: RawRequestMessage, body: StreamReader) -> None:
        self.body = body
        self.is_over = False
        self.ended_plainly = False
        self._chunks = ChunkScanner() if message.chunked else None
        # Bytes; -1 where nothing but the end of the connection tells.
        self._left = -1 if message.chunked else int(message.headers.get(hdrs.CONTENT_LENGTH, -1))

    def take(self, data: bytes) -> bytes:
        """Take the next bytes received; return those that belong to the body."""
        if self._chunks is not None:
            return self._take_chunks(self._chunks, data)
        if self._left < 0:
            return data
        part = data[: self._left]
        self._left -= len(part)
        self.is_over = not self._left
        return part

    def _take_chunks(self, chunks: ChunkScanner, data: bytes) -> bytes:
        try:
            size = chunks.feed(data)
        except BadHead:
            size = -1
        if size < 0 or not chunks.is_plain:
            self._chunks = None
            return data
        self.is_over = self.ended_plainly = chunks.done
        return data[:size]
