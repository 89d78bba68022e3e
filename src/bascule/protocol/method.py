"""Methods of requests (RFC 9110 §9.1): what one means is the upstream's business, so any may pass.

WebDAV and its extensions have dozens, caches have their own (``BAN``), and new ones come (``QUERY``). A proxy
passes on those that it does not know; 501 is for the server that a request is meant for. aiohttp's parser
takes only those in a table of its own, which changes with its version, so for every other it is shown a
common one.

A method with small letters is left to that parser, which refuses it: to servers that fold case, ``get`` is
GET, to others it is not, and what has two readings we do not pass on. No registered one has any; nginx and
gunicorn refuse them too.

Rules of this file: bytes in, values out; nothing a client sent is repeated.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["BODY_WITHOUT_MEANING", "ECHOES", "with_known_method"]

BODY_WITHOUT_MEANING: Final = frozenset({"DELETE", "GET", "HEAD", "OPTIONS"})
"""Methods whose requests may have a body, for which no meaning is defined (RFC 9110 §9.3). Some servers leave
it unread, and take it for the next request on the connection, which behind a proxy may be anybody's."""

ECHOES: Final = frozenset({"TRACE", "TRACK"})
"""Methods that a server answers with the request, cookies and all (RFC 9110 §9.3.8); the second is IIS's own.
Browsers let no script use them (Fetch standard, "forbidden method")."""

_COMMON: Final = frozenset(
    {b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS", b"CONNECT", b"TRACE"}
)
"""Methods that every parser knows; one of them has meaning for the parser itself."""

_STAND_IN: Final = b"POST"
"""A method with no meaning for a parser: whether there is a body, the fields say (RFC 9112 §6.3)."""

_METHOD: Final = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Z]++) ")
"""A token (RFC 9110 §5.6.2) without small letters."""


def with_known_method(head: bytes) -> tuple[bytes, str | None]:
    """Return a head whose method a parser knows, and the method that it replaces.

    Args:
        head: A request head.

    Returns:
        The head as it came and ``None`` if nothing was replaced: the method is common, or none that passes.
    """
    method = head[: head.find(b" ")]
    if method in _COMMON or (found := _METHOD.match(head)) is None:
        return head, None
    return _STAND_IN + head[found.end(1) :], found[1].decode("ascii")
