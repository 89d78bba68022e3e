"""``Date``, which each answer of ours must have (RFC 9110 §6.6.1): formatted once a second for all."""

from __future__ import annotations

import time
from email.utils import formatdate

__all__ = ["date_line"]


class _Clock:
    def __init__(self) -> None:
        self._second = -1
        self._line = b""

    def line(self) -> bytes:
        """Return the field, with the end of its line."""
        second = int(time.time())
        if second != self._second:
            self._second = second
            self._line = b"Date: %b\r\n" % formatdate(second, usegmt=True).encode()
        return self._line


date_line = _Clock().line
