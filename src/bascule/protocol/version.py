"""Versions of requests (RFC 9110 §2.5): a higher minor version than ours is answered as if it were ours.

There is none above HTTP/1.1, and a client that announces one can speak 1.1 as well. aiohttp's parser refuses
it, so it is shown the latest.

Rules of this file: bytes in, bytes out; nothing a client sent is repeated.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["with_known_version"]

_KNOWN: Final = (b"1.1", b"1.0")

_LATER: Final = re.compile(rb"[^\r\n]* HTTP/1\.[2-9]\r\n")
"""A first line whose version is later than 1.1; two digits are no minor version (RFC 9112 §2.3)."""


def with_known_version(head: bytes) -> bytes:
    """Return a head whose version a parser knows; as it came, unless it is a later one of HTTP/1.

    Args:
        head: A request head.
    """
    end = head.find(b"\r\n")
    if head[end - 3 : end] in _KNOWN or _LATER.match(head) is None:
        return head
    return head[: end - 1] + b"1" + head[end:]
