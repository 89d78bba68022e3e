"""Strict heads of HTTP/1.1 messages (RFC 9112), for the opening handshakes.

A head is cut at each CR LF. An expression decides whether its first line is well formed; every
other line must be a token, a colon and a value without control bytes. Any other head
is refused. So line folding (§5.2), a bare CR or LF (§2.2), white space before a colon (§5.1),
control bytes and an empty field name are errors, not guesses: two parsers that guess
differently are how requests are smuggled.

Where a body ends is in `bascule.protocol.body`.

Browsers of one make send the same lines again and again. So lines that say nothing of a user are read once:
a line means the same wherever it stands.

Rules of this file: bytes in, values out; limits come as arguments; nothing a peer
sent is repeated in an error; memory is bounded.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, TypeAlias

from bascule.errors import RequestRefused

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "END_OF_HEAD",
    "ONLY_HTTP_1",
    "TOKEN",
    "TOO_MANY_FIELDS",
    "BadHead",
    "RequestHead",
    "ResponseHead",
    "elements",
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
_REQUEST_LINE: Final = re.compile(rb"(" + TOKEN + rb") ([\x21-\x7e\x80-\xff]+) HTTP/([0-9])\.([0-9])")
_STATUS_LINE: Final = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9][0-9])(?: ([\t \x21-\x7e\x80-\xff]*))?")
_FIELD_LINE: Final = re.compile(rb"(" + TOKEN + rb"):[ \t]*+([\t \x21-\x7e\x80-\xff]*+)")
"""``*+`` is possessive, so the time for a line is proportional to its length. White space behind a value is
cut off afterwards."""

_SAID_BY_MANY: Final = frozenset(
    {
        b"accept", b"accept-encoding", b"accept-language", b"cache-control", b"connection", b"dnt", b"host",
        b"origin", b"pragma", b"sec-fetch-dest", b"sec-fetch-mode", b"sec-fetch-site", b"sec-gpc",
        b"sec-websocket-extensions", b"sec-websocket-version", b"server", b"upgrade", b"user-agent",
        b"x-forwarded-host", b"x-forwarded-port", b"x-forwarded-proto", b"x-forwarded-scheme", b"x-scheme",
    }
)  # fmt: skip
"""Fields whose lines are remembered: many requests have the same, and none has a credential in them."""
_REMEMBERED: Final = 1024
"""Lines that are kept; then the memory is emptied, so it cannot grow."""
_LONGEST: Final = 256
"""Bytes of a line; longer ones are not remembered."""

_HUGE_LENGTH: Final = re.compile(rb"\ncontent-length:[ \t]*+[0-9]{19}", re.IGNORECASE)


class BadHead(RequestRefused):
    """The head is malformed or over a limit; the text says which rule, not what was sent."""


_Line: TypeAlias = tuple[tuple[bytes, bytes], bytes, tuple[bytes]]
"""A field line that was read: name as sent and value; the name in lower case; the value."""


_ByName: TypeAlias = dict[bytes, tuple[bytes, ...]]


_LINES: Final[dict[bytes, _Line]] = {}
"""Field lines without their ends → how they are read, as far as they are remembered."""


def _read_line(line: bytes) -> _Line | None:
    """Read a field line; ``None`` if it is none."""
    match = _FIELD_LINE.fullmatch(line)
    if match is None:
        return None
    spelling, value = match.groups()
    value = value.rstrip(b" \t")
    name = spelling.lower()
    read = (spelling, value), name, (value,)
    if name in _SAID_BY_MANY and len(line) <= _LONGEST:
        if len(_LINES) >= _REMEMBERED:
            _LINES.clear()
        _LINES[line] = read
    return read


class _Head:
    """Field lines with an index by name."""

    __slots__ = ("by_name", "fields")

    def __init__(self, fields: list[tuple[bytes, bytes]], by_name: _ByName | None = None) -> None:
        self.fields = fields
        if by_name is None or len(by_name) < len(fields):  # some have several lines
            by_name = _indexed(fields)
        self.by_name = by_name

    def values(self, name: bytes) -> list[bytes]:
        """Return the values of one field, one for each line; ``name`` in lower case."""
        return list(self.by_name.get(name, ()))


def _indexed(fields: list[tuple[bytes, bytes]]) -> _ByName:
    """Return the values of each field by its name."""
    lines: dict[bytes, list[bytes]] = {}
    for name, value in fields:
        lines.setdefault(name.lower(), []).append(value)
    return {name: tuple(values) for name, values in lines.items()}


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

    def __init__(
        self, method: bytes, target: bytes, minor: int, fields: list[tuple[bytes, bytes]],
        by_name: _ByName | None = None,
    ) -> None:  # fmt: skip
        super().__init__(fields, by_name)
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

    def __init__(
        self, minor: int, status: int, reason: bytes, fields: list[tuple[bytes, bytes]],
        by_name: _ByName | None = None,
    ) -> None:  # fmt: skip
        super().__init__(fields, by_name)
        self.minor = minor
        self.status = status
        self.reason = reason


def parse_request_head(head: bytes, max_fields: int) -> RequestHead:
    """Read a request head, up to and with its empty line.

    Raises:
        BadHead: 400 malformed, 431 too many fields, 505 another version than HTTP/1.
    """
    first, *lines = head.split(_LINE_END)
    match = _REQUEST_LINE.fullmatch(first)
    read = _fields(lines)
    if match is None or read is None:
        raise BadHead(400, "The request head is malformed.")
    method, target, major, minor = match.groups()
    if major != b"1":
        raise BadHead(505, ONLY_HTTP_1)
    fields, by_name = read
    if len(fields) > max_fields:
        raise BadHead(431, TOO_MANY_FIELDS)
    return RequestHead(method, target, int(minor), fields, by_name)


def parse_response_head(head: bytes, max_fields: int) -> ResponseHead:
    """Read a response head, up to and with its empty line.

    Raises:
        BadHead: Malformed or with too many fields; its status is 502.
    """
    first, *lines = head.split(_LINE_END)
    match = _STATUS_LINE.fullmatch(first)
    read = _fields(lines)
    if match is None or read is None:
        raise BadHead(502, "The upstream's response head is malformed.")
    minor, status, reason = match.groups()
    fields, by_name = read
    if len(fields) > max_fields:
        raise BadHead(502, "The upstream's response head has too many fields.")
    return ResponseHead(int(minor), int(status), reason or b"", fields, by_name)


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
    """Tell whether a head announces a body with a number of more than 18 digits, which `framing_of` refuses.

    Readers differ beyond 63 bits: some refuse the number, for some it is negative, and to parsers built on
    llhttp 2**64-1 says that there is no ``Content-Length`` (seen with aiohttp 3.14.5).
    """
    return _HUGE_LENGTH.search(head) is not None


def _fields(lines: list[bytes]) -> tuple[list[tuple[bytes, bytes]], _ByName] | None:
    """Read what stands behind the first line: field lines and an empty one; ``None`` if it is anything else.

    Returns:
        The fields in order, and by their names; of a name that several lines have, one value.
    """
    if lines[-2:] != [b"", b""]:
        return None
    fields = []
    by_name: _ByName = {}
    remembered = _LINES.get
    for line in lines[:-2]:
        read = remembered(line) or _read_line(line)
        if read is None:
            return None
        field, name, values = read
        fields.append(field)
        by_name[name] = values
    return fields, by_name


def elements(values: Sequence[bytes]) -> list[bytes]:
    """Split comma-separated field lines into their elements, without empty ones (RFC 9110 §5.6.1)."""
    return [element for value in values for item in value.split(b",") if (element := item.strip(b" \t"))]


def tokens(values: Sequence[bytes]) -> list[bytes]:
    """Split comma-separated field lines into lower-case tokens."""
    return [element.lower() for element in elements(values)]
