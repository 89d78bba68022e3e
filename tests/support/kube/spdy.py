"""The server's end of SPDY/3.1, as far as kubectl's ``exec`` and ``port-forward`` speak it.

Streams are opened by the client; data goes both ways; nobody counts windows. The format is that of
draft-mbelshe-httpbis-spdy-00: a control frame begins with a set bit, a data frame with its stream's number.
"""

import struct
import threading
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

__all__ = ["Connection", "Stream"]

_SYN_STREAM: Final = 1
_SYN_REPLY: Final = 2
_RST_STREAM: Final = 3
_PING: Final = 6
_GOAWAY: Final = 7
_FIN: Final = 1
_MOST: Final = 2**24 - 1
"""Bytes that one frame can hold."""

_WORDS: Final = (
    "options head post put delete trace accept accept-charset accept-encoding accept-language accept-ranges "
    "age allow authorization cache-control connection content-base content-encoding content-language "
    "content-length content-location content-md5 content-range content-type date etag expect expires from "
    "host if-match if-modified-since if-none-match if-range if-unmodified-since last-modified location "
    "max-forwards pragma proxy-authenticate proxy-authorization range referer retry-after server te trailer "
    "transfer-encoding upgrade user-agent vary via warning www-authenticate method get status 200_OK version "
    "HTTP/1.1 url public set-cookie keep-alive origin"
)
_REST: Final = (
    "1001012012022052063003023033043053063074024054064074084094104114124134144154164175025045052"
    "03 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized"
    "403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable"
    "Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT"
    "chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,"
    "text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0."
)


def _counted(text: str) -> bytes:
    return struct.pack(">I", len(text)) + text.encode()


_DICTIONARY: Final = b"".join(_counted(word.replace("_", " ")) for word in _WORDS.split()) + _REST.encode()
"""What both sides' compressors have seen before the first header (section 2.6.10.1)."""


@dataclass
class Stream:
    """One stream that the client opened.

    Attributes:
        headers: What it said of it, such as ``streamtype``.
    """

    connection: "Connection"
    number: int
    headers: dict[str, str]

    def send(self, data: bytes, *, last: bool = False) -> None:
        """Send bytes; ``last`` closes our direction."""
        self.connection.write(self.number, _FIN if last else 0, data)


class Connection:
    """A connection that was upgraded."""

    def __init__(self, reader: BinaryIO, writer: BinaryIO) -> None:
        self._reader, self._writer = reader, writer
        self._inflate = zlib.decompressobj(zdict=_DICTIONARY)
        self._deflate = zlib.compressobj()  # a stream need not use the dictionary
        self._lock = threading.Lock()
        self._streams: dict[int, Stream] = {}

    def events(self) -> Iterator[tuple[Stream, bytes | None, bool]]:
        """Yield ``(stream, data, last)`` until the client leaves.

        A stream that was just opened comes with ``None``.
        """
        while len(head := self._reader.read(8)) == 8:
            first, rest = struct.unpack(">II", head)
            flags, body = rest >> 24, self._reader.read(rest & _MOST)
            last = bool(flags & _FIN)
            if not first >> 31:
                if first in self._streams:
                    yield self._streams[first], body, last
                continue
            kind = first & 0xFFFF
            if kind == _SYN_STREAM:
                stream = self._open(body)
                yield stream, None, last
            elif kind == _RST_STREAM:
                stream = self._streams[struct.unpack(">I", body[:4])[0]]
                yield stream, b"", True
            elif kind == _PING:
                self.write(0x80030000 | _PING, 0, body)
            elif kind == _GOAWAY:
                return

    def write(self, first: int, flags: int, data: bytes) -> None:
        """Send a frame whole."""
        with self._lock:
            self._writer.write(struct.pack(">II", first, flags << 24 | len(data)) + data)
            self._writer.flush()

    def _open(self, body: bytes) -> Stream:
        number = struct.unpack(">I", body[:4])[0]
        text = self._inflate.decompress(body[10:])
        stream = self._streams[number] = Stream(self, number, _headers(text))
        none = self._deflate.compress(struct.pack(">I", 0)) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
        self.write(0x80030000 | _SYN_REPLY, 0, struct.pack(">I", number) + none)
        return stream


def _headers(text: bytes) -> dict[str, str]:
    words, place = [], 4
    for _ in range(2 * struct.unpack(">I", text[:4])[0]):
        length = struct.unpack(">I", text[place : place + 4])[0]
        words.append(text[place + 4 : place + 4 + length].decode())
        place += 4 + length
    return dict(zip(words[::2], words[1::2], strict=True))
