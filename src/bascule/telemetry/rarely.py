"""Keeps a log line that may come ten thousand times a second from filling a disk: most are not written.

Rules of this file: pure; the caller has the clock and the log.
"""

from __future__ import annotations

import math

__all__ = ["Rarely"]


class Rarely:
    """Lets one of many equal log lines through, and the next when some time has passed.

    Args:
        seconds: The least time between two lines.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._said_at = -math.inf

    def now(self, time: float) -> bool:
        """Return whether the line is to be written now; if so, the caller writes it.

        Args:
            time: Monotonic time in seconds.
        """
        if time - self._said_at < self._seconds:
            return False
        self._said_at = time
        return True
