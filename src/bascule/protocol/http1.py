"""Strict heads of HTTP/1.1 messages (RFC 9112), for the opening handshakes.

Two regular expressions decide whether a head is well formed: one for its first line and
one that must match every other line; and the line ends must be its only control bytes. Any other head
is refused. So line
folding (§5.2), a bare CR or LF (§2.2), white space before a colon (§5.1), control
bytes and an empty field name are errors, not guesses: two parsers that guess
differently are how requests are smuggled.

Rules of this file: bytes in, values out; limits come as arguments; nothing a peer
sent is repeated in an error.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from bascule.errors import RequestRefused

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "END_OF_HEAD",
    "ONLY_HTTP_1",
    "TOKEN",
    "TOO_MANY_FIELDS",
    "BadHead",
    "ChunkScanner",
    "Framing",
    "RequestHead",
    "ResponseHead",
    "elements",
    "framing_of",
    "has_bare_line_feed",
    "has_huge_length",
    "parse_request_head",
    "parse_response_head",
    "tokens",
    "without_empty_lines",
]

_LINE_END: Final = b"\r\n"
END_OF_HEAD: Final = _LINE_END + _LINE_END

ONLY_HTTP_1: Final = "Only HTTP/1 is supported."
"""The text of a 505 (RFC 9110 §15.6.6)."""

TOO_MANY_FIELDS: Final = "The request has too many header fields."
"""The text of a 431 (RFC 6585 §5)."""

TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"
"""A token (RFC 9110 §5.6.2). ``++`` is possessive: the expression never backtracks into it."""
_REQUEST_LINE: Final = re.compile(rb"(" + TOKEN + rb") ([\x21-\x7e\x80-\xff]+) HTTP/([0-9])\.([0-9])\r\n")
_STATUS_LINE: Final = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9][0-9])(?: ([\t \x21-\x7e\x80-\xff]*))?\r\n")
_TEXT: Final = bytes((0x09, *range(0x20, 0x7F), *range(0x80, 0x100)))
"""What a line may consist of (RFC 9110 §5.5). To look for anything else at once takes an eighth of what an
expression takes that names these bytes."""
_FIELD_LINE: Final = rb"^(" + TOKEN + rb"):[ \t]*+([^\r]*+)"
"""``*+`` is possessive, so the time for a line is proportional to its length."""
_FIELD_LINES: Final = re.compile(_FIELD_LINE + rb"(?<![ \t])\r\n", re.MULTILINE)
"""Each match is one whole line, so when there are as many matches as lines, every line is a field line."""
_PADDED_LINES: Final = re.compile(_FIELD_LINE + rb"\r\n", re.MULTILINE)
"""The same where white space stands behind a value, which nearly no head has: it is cut off afterwards."""

_HUGE_LENGTH: Final = re.compile(rb"\ncontent-length:[ \t]*+[0-9]{19}", re.IGNORECASE)

_CODINGS: Final = (b"chunked", b"identity")
"""Values of ``Transfer-Encoding`` that we read. Where an empty element is beside it (RFC 9110 §5.6.1), some
readers see no coding, aiohttp among them."""


class BadHead(RequestRefused):
    """The head is malformed or over a limit; the text says which rule, not what was sent."""


class _Head:
    """Field lines with an index by name."""

    __slots__ = ("by_name", "fields")

    def __init__(self, fields: list[tuple[bytes, bytes]]) -> None:
        self.fields = fields
        self.by_name: dict[bytes, tuple[bytes, ...]] = {name.lower(): (value,) for name, value in fields}
        if len(self.by_name) < len(fields):  # some have several lines
            lines: dict[bytes, list[bytes]] = {}
            for name, value in fields:
                lines.setdefault(name.lower(), []).append(value)
            self.by_name = {name: tuple(values) for name, values in lines.items()}

    def values(self, name: bytes) -> list[bytes]:
        """Return the values of one field, one for each line; ``name`` in lower case."""
        return list(self.by_name.get(name, ()))


class RequestHead(_Head):
    """A request's head.

    Attributes:
        method: As sent; methods are case-sensitive.
        target: The request target, byte for byte.
        minor: Minor version of HTTP/1.
        fields: Field lines in order: name as sent, value without outer white space.
        by_name: The values of each field, one for each line, by its name in lower case.
    """

    __slots__ = ("method", "minor", "target")

    def __init__(self, method: bytes, target: bytes, minor: int, fields: list[tuple[bytes, bytes]]) -> None:
        super().__init__(fields)
        self.method = method
        self.target = target
        self.minor = minor


class ResponseHead(_Head):
    """A response's head.

    Attributes:
        minor: Minor version of HTTP/1.
        status: Status code.
        reason: Reason phrase.
        fields: As in `RequestHead`.
        by_name: As in `RequestHead`.
    """

    __slots__ = ("minor", "reason", "status")

    def __init__(self, minor: int, status: int, reason: bytes, fields: list[tuple[bytes, bytes]]) -> None:
        super().__init__(fields)
        self.minor = minor
        self.status = status
        self.reason = reason


def parse_request_head(head: bytes, max_fields: int) -> RequestHead:
    """Read a request head, up to and with its empty line.

    Raises:
        BadHead: 400 malformed, 431 too many fields, 505 another version than HTTP/1.
    """
    match = _REQUEST_LINE.match(head)
    fields = None if match is None else _fields(head, match.end())
    if match is None or fields is None:
        raise BadHead(400, "The request head is malformed.")
    method, target, major, minor = match.groups()
    if major != b"1":
        raise BadHead(505, ONLY_HTTP_1)
    if len(fields) > max_fields:
        raise BadHead(431, TOO_MANY_FIELDS)
    return RequestHead(method, target, int(minor), fields)


def parse_response_head(head: bytes, max_fields: int) -> ResponseHead:
    """Read a response head, up to and with its empty line.

    Raises:
        BadHead: Malformed or with too many fields; its status is 502.
    """
    match = _STATUS_LINE.match(head)
    fields = None if match is None else _fields(head, match.end())
    if match is None or fields is None:
        raise BadHead(502, "The upstream's response head is malformed.")
    minor, status, reason = match.groups()
    if len(fields) > max_fields:
        raise BadHead(502, "The upstream's response head has too many fields.")
    return ResponseHead(int(minor), int(status), reason or b"", fields)


def without_empty_lines(data: bytes) -> bytes:
    """Return received data without the empty lines that may precede a head (RFC 9112 §2.2)."""
    position = 0
    while data.startswith(b"\r\n", position):
        position += 2
    return data[position:] if position else data


def has_bare_line_feed(data: bytes) -> bool:
    """Tell whether a line ends without CR (RFC 9112 §2.2): whatever follows, we do not accept such a head."""
    return data.count(b"\n") != data.count(b"\r\n")


def has_huge_length(head: bytes) -> bool:
    """Tell whether a head announces a body with a number of more than 18 digits, as `framing_of` refuses it.

    Readers differ beyond 63 bits: some refuse the number, for some it is negative, and to parsers built on
    llhttp 2**64-1 says that there is no ``Content-Length`` (seen with aiohttp 3.14.5).
    """
    return _HUGE_LENGTH.search(head) is not None


def _fields(head: bytes, start: int) -> list[tuple[bytes, bytes]] | None:
    """Return the field lines between the first line and the empty one; ``None`` if there is anything else."""
    line_ends = head.translate(None, _TEXT)
    lines = len(line_ends) // 2 - 2
    if line_ends != _LINE_END * (lines + 2) or not head.endswith(END_OF_HEAD):
        return None
    end = len(head) - len(_LINE_END)
    fields: list[tuple[bytes, bytes]] = _FIELD_LINES.findall(head, start, end)
    if len(fields) != lines:
        fields = [(name, value.rstrip(b" \t")) for name, value in _PADDED_LINES.findall(head, start, end)]
    return fields if len(fields) == lines else None


def elements(values: Sequence[bytes]) -> list[bytes]:
    """Split comma-separated field lines into their elements, without empty ones (RFC 9110 §5.6.1)."""
    return [element for value in values for item in value.split(b",") if (element := item.strip(b" \t"))]


def tokens(values: Sequence[bytes]) -> list[bytes]:
    """Split comma-separated field lines into lower-case tokens."""
    return [element.lower() for element in elements(values)]


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
