"""``Date``, which each answer of ours must have (RFC 9110 §6.6.1): formatted once a second for all."""

from __future__ import annotations

import time
from email.utils import formatdate
from functools import lru_cache

__all__ = ["date_line"]


def date_line() -> bytes:
    """Return the field, with the end of its line."""
    return _line(int(time.time()))


@lru_cache(maxsize=1)
def _line(second: int) -> bytes:
    return b"Date: %b\r\n" % formatdate(second, usegmt=True).encode()
