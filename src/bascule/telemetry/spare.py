"""A descriptor kept in reserve, so that a process that has run out of them can still read a file.

Rules of this file: one descriptor, for one file at a time, in one thread; having none in reserve is no error.
"""

from __future__ import annotations

import contextlib
import os

__all__ = ["Spare"]


class Spare:
    """Holds one descriptor, and frees it for a file that is opened in a ``with`` block.

    The file must be closed in the block. At its end the descriptor is taken back; if that fails, the end of
    the next block tries again.
    """

    def __init__(self) -> None:
        self._held: int | None = None
        self._keep()

    def __enter__(self) -> None:
        """Free the descriptor."""
        if self._held is not None:
            os.close(self._held)
            self._held = None

    def __exit__(self, *_: object) -> None:
        """Take it back."""
        self._keep()

    def _keep(self) -> None:
        with contextlib.suppress(OSError):
            self._held = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
