"""Where the body of a message ends (RFC 9112 §6 and §7).

Rules of this file: no body is decoded or kept; what leaves its end in doubt is an error, as in
`bascule.protocol.http1`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from bascule.protocol.http1 import BadHead

if TYPE_CHECKING:
    from bascule.protocol.http1 import ResponseHead

__all__ = ["ChunkScanner", "Framing", "framing_of"]

_CODINGS: Final = (b"chunked", b"identity")
"""Values of ``Transfer-Encoding`` that we read. Where an empty element is beside it (RFC 9110 §5.6.1), some
readers see no coding, aiohttp among them."""


class Framing(NamedTuple):
    """Where the body of a response ends (RFC 9112 §6.3).

    Attributes:
        chunked: Whether it has the chunked coding, which marks its own end.
        length: Its length in bytes; -1 when it is chunked, or ends with the connection.
    """

    chunked: bool
    length: int


def framing_of(head: ResponseHead) -> Framing:
    """Return where the body of a final response to GET ends; the one to HEAD has the same fields and no body.

    ``identity`` is the word of RFC 2616 for no coding; other proxies take it.

    Raises:
        BadHead: Its status is of no class, or its framing fields are invalid, contradict each other, or name
            a coding other than chunked, which HTTP/1.0 does not know (§6.1); the error's status is 502.
    """
    if head.status > 599:
        raise BadHead(502, "The upstream's status is not valid.")
    coding = b",".join(head.values(b"transfer-encoding")).strip(b" \t").lower()
    lengths = head.values(b"content-length")
    if coding and (coding not in _CODINGS or lengths or head.minor < 1):
        raise BadHead(502, "The upstream's transfer coding is not supported.")
    if lengths and (len(lengths) != 1 or not lengths[0].isdigit() or len(lengths[0]) > 18):
        raise BadHead(502, "The upstream's Content-Length is not valid.")
    if head.status in (204, 304):
        return Framing(False, 0)
    if coding == b"chunked":
        return Framing(True, -1)
    return Framing(False, int(lengths[0]) if lengths else -1)


class ChunkScanner:
    """Finds the end of a chunked body (RFC 9112 §7.1) without decoding it.

    Used for the rare answer to an upgrade that is not a 101 and has no length, and for uploads.

    Attributes:
        is_plain: Whether there are neither chunk extensions nor trailers so far: readers of those differ.
        done: Whether the end was seen.
    """

    _SIZE_LINE: Final = 1024
    """Longest size line or trailer field line, in bytes."""

    def __init__(self) -> None:
        self._line = b""
        self._left = 0
        self._after_chunk = False
        self._trailers = False
        self.is_plain = True
        self.done = False

    def feed(self, data: bytes) -> int:
        """Take the next bytes received; return how many of them belong to the body.

        Raises:
            BadHead: The chunked coding is malformed; its status is 502. The scanner is of no use then.
        """
        position = 0
        while position < len(data) and not self.done:
            if self._left:
                step = min(self._left, len(data) - position)
                self._left -= step
                position += step
                continue
            end = data.find(b"\n", position)
            stop = len(data) if end < 0 else end + 1
            self._line += data[position:stop]
            position = stop
            # Behind a chunk's data only CR LF will do: a parser that skips any two bytes there
            # disagrees with its neighbours about where the next chunk begins.
            if len(self._line) > (2 if self._after_chunk else self._SIZE_LINE):
                raise BadHead(502, "The upstream's chunked body is malformed.")
            if end >= 0:
                self._on_line()
        return position

    def _on_line(self) -> None:
        line, self._line = self._line, b""
        if not line.endswith(b"\r\n"):
            raise BadHead(502, "The upstream's chunked body is malformed.")
        if self._after_chunk:  # `feed` allows two bytes here, so the line is CR LF
            self._after_chunk = False
            return
        if self._trailers:
            self.done = line == b"\r\n"
            self.is_plain &= self.done
            return
        size = re.fullmatch(rb"([0-9A-Fa-f]{1,15})([ \t]*;[^\r\n]*)?\r\n", line)
        if size is None:
            raise BadHead(502, "The upstream's chunked body is malformed.")
        self.is_plain &= size[2] is None
        length = int(size[1], 16)
        self._left = length
        self._after_chunk = length > 0
        self._trailers = length == 0
