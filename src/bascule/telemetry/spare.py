"""A descriptor kept back, so that a process that has no other left can still read a file and say so.

Rules of this file: one descriptor, one file read at a time, in one thread; to run out is no error.
"""

from __future__ import annotations

import contextlib
import os

__all__ = ["Spare"]


class Spare:
    """Holds one descriptor, and gives its number to whatever is opened in a ``with`` block.

    What is opened there has to be closed there. Held until the process ends; where it cannot be taken back
    it is after the next block.
    """

    def __init__(self) -> None:
        self._held: int | None = None
        self._keep()

    def __enter__(self) -> None:
        """Let the descriptor go."""
        if self._held is not None:
            os.close(self._held)
            self._held = None

    def __exit__(self, *_: object) -> None:
        """Take it back."""
        self._keep()

    def _keep(self) -> None:
        with contextlib.suppress(OSError):
            self._held = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
