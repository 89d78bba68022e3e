"""The standard streams: there from the start, and given up when they take nothing.

Rules of this file: the lowest layer; imports nothing of ours.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from typing import TextIO

__all__ = ["give_up", "open_closed"]

_MODES: Final = (
    os.O_RDONLY,
    os.O_RDONLY,  # whoever prints something is told that nobody gets it
    os.O_WRONLY,
)
"""How the null device stands in for standard input, output and error."""


def open_closed() -> None:
    """Open the null device for each standard descriptor that is closed, for us and all that we start.

    Else the next socket has its number, and those who write to standard error write to that.
    """
    for descriptor, mode in enumerate(_MODES):
        try:
            os.fstat(descriptor)
        except OSError:
            # The lowest number that is free is this one: those below it are open.
            os.set_inheritable(os.open(os.devnull, mode), True)
    # Python has none for a descriptor that was closed when it began.
    if sys.stdout is None:
        sys.stdout = os.fdopen(1, "w", closefd=False)
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w", buffering=1, errors="backslashreplace", closefd=False)


def give_up(stream: TextIO) -> None:
    """Drop what a stream could not write, and all that follows: Python would write it once more on exit."""
    with contextlib.suppress(OSError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
