"""The standard streams: open from the start, and given up once they cannot be written.

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
    os.O_RDONLY,  # printing fails then: a command must not succeed with its output lost
    os.O_WRONLY,
)
"""How the null device stands in for standard input, output and error."""


def open_closed() -> None:
    """Open the null device for each standard descriptor that is closed, for us and all that we start.

    Otherwise the next socket would get that number, and text for standard error would go to the socket.
    """
    for descriptor, mode in enumerate(_MODES):
        try:
            os.fstat(descriptor)
        except OSError:
            # os.open returns the lowest free number, which is this one: all below it are open.
            os.set_inheritable(os.open(os.devnull, mode), True)
    # Python sets a stream to None when its descriptor was closed at the start.
    if sys.stdout is None:
        sys.stdout = os.fdopen(1, "w", closefd=False)
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w", buffering=1, errors="backslashreplace", closefd=False)


def give_up(stream: TextIO) -> None:
    """Discard a stream's unwritten and later text; otherwise Python would try to write it again on exit."""
    with contextlib.suppress(OSError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
