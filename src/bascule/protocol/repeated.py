"""Request fields that are defined for one line, and come on several (RFC 9110 §5.3).

A sender must not do that, but scripts and proxies do. Where nobody is misled by it, such a request is passed
on as it came; where two readers could disagree about what it asks for, it is refused:

* ``Host``, ``Content-Length``, ``Transfer-Encoding``: always. They say whom a request is for, and where it
  ends (RFC 9112 §3.2, §6.3); all smuggling begins there.
* ``Content-Type``, ``Content-Range``: unless all lines say the same. Some servers read the first line and
  others the last (RFC 9110 §8.3), and the one that checks may not be the one that obeys.
* All others pass. They describe; no body is read by them, and nobody is let in.

This is about the fields that aiohttp lets no request have twice. All others have always passed as they come;
an opening handshake has rules of its own (`bascule.protocol.handshake`).

Rules of this file: bytes in, decisions out; a refusal names the field, and repeats no value.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from bascule.errors import RequestRefused
from bascule.protocol.http1 import parse_request_head

if TYPE_CHECKING:
    from bascule.protocol.http1 import RequestHead

__all__ = ["check_repeated", "have_repeats", "with_first_lines", "written_once"]

_NAMES: Final = (
    rb"content-(?:length|location|range|type)|etag|host|max-forwards|server|transfer-encoding|user-agent"
)
_SINGLE: Final = re.compile(rb"\n(" + _NAMES + rb"):", re.IGNORECASE)
_IS_SINGLE: Final = re.compile(_NAMES)

_NEVER: Final = {
    b"content-length": "Content-Length",
    b"host": "Host",
    b"transfer-encoding": "Transfer-Encoding",
}
_ALIKE: Final = {b"content-range": "Content-Range", b"content-type": "Content-Type"}


def have_repeats(head: bytes) -> bool:
    """Tell whether a head has a line twice of those that it should have once: cheap, for every request."""
    names = _SINGLE.findall(head)
    return len(set(map(bytes.lower, names))) != len(names)


def check_repeated(head: RequestHead) -> None:
    """Check that no line of a request contradicts another.

    Raises:
        RequestRefused: 400, with the name of the field.
    """
    for name, spelt in _NEVER.items():
        if len(head.values(name)) > 1:
            raise RequestRefused(400, f"The request has more than one {spelt} field; only one is allowed.")
    for name, spelt in _ALIKE.items():
        if len(set(head.values(name))) > 1:
            raise RequestRefused(400, f"The request has several {spelt} fields, and they differ.")


def written_once(head: RequestHead) -> bytes:
    """Return a head in which each of these fields has its first line only."""
    lines = [b"%b %b HTTP/1.%d" % (head.method, head.target, head.minor)]
    seen: set[bytes] = set()
    for name, value in head.fields:
        lowered = name.lower()
        if lowered not in seen:
            lines.append(b"%b: %b" % (name, value))
        if _IS_SINGLE.fullmatch(lowered):
            seen.add(lowered)
    return b"\r\n".join(lines) + b"\r\n\r\n"


def with_first_lines(head: bytes, max_fields: int) -> bytes:
    """Return a head as `written_once` does, or as it came if it is not valid or contradicts itself.

    For a listener of ours, whose answers follow no field of these: what is refused here, its parser refuses.
    """
    try:
        parsed = parse_request_head(head, max_fields)
        check_repeated(parsed)
    except RequestRefused:
        return head
    return written_once(parsed)
