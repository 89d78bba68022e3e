"""Writes lines of the log, and never waits long for whoever reads them.

A pipe's reader may stop: a collector that hangs, or whose disk is full. Then a ``write`` waits for ever, and
every session of the process with it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import stat
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["PATIENCE", "LineWriter"]

PATIENCE: Final = 1.0
"""Seconds that a line waits for a pipe to be read: a collector that pauses loses none."""

_SHARE: Final = 0.1
"""Part of the time that all lines together may wait, beyond that. Where many sessions end at once, and each
line waited for a collector that reads too slowly, a process would stand still until it counted as hung."""


class LineWriter:
    """Write lines to a descriptor; a line that cannot be written is counted and forgotten.

    Each line is one ``write``, so that lines of several processes on one pipe do not mix (up to
    ``PIPE_BUF``). Lines wait `PATIENCE` at most, and those after them not at all until the pipe is read
    again; whoever always reads too slowly is waited for during a tenth of the time.

    Args:
        descriptor: Where lines go; the caller keeps it open, and closes it.
        say_lost: Called with the number of lines that were lost before one that can be written; it may write.
    """

    __slots__ = (
        "_descriptor", "_is_read", "_may_wait", "_patience", "_say_lost", "_since", "_torn", "_unsaid",
        "lost",
    )  # fmt: skip

    def __init__(self, descriptor: int, say_lost: Callable[[int], object] = lambda _: None) -> None:
        self._descriptor = descriptor
        self._say_lost = say_lost
        self._is_read = True
        self._patience, self._since = PATIENCE, time.monotonic()
        mode = os.fstat(descriptor).st_mode
        # A file has no reader. And some file systems refuse what must not wait again and again.
        self._may_wait = not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode))
        self._torn = False
        self._unsaid = 0
        self.lost = 0
        """Lines that could not be written, for example to a full disk."""

    def msg(self, line: str) -> None:
        """Write one line, on a new line even if the one before was written only in part."""
        if self._unsaid and self._takes():
            unsaid, self._unsaid = self._unsaid, 0
            self._say_lost(unsaid)
            if self._unsaid:
                self._unsaid = unsaid  # that line was lost as well
        rest = (("\n" if self._torn else "") + line + "\n").encode("utf-8", "backslashreplace")
        with contextlib.suppress(OSError):
            while rest and self._takes():
                rest = rest[self._write(rest[: select.PIPE_BUF]) :]
                self._torn = bool(rest)
        if rest:
            self.lost += 1
            self._unsaid += 1

    def _takes(self) -> bool:
        """Tell whether ``PIPE_BUF`` bytes can be written, perhaps after a wait for a reader."""
        if self._has_room(0):
            self._is_read = True
        elif self._is_read:
            now = time.monotonic()
            patience = min(PATIENCE, self._patience + _SHARE * (now - self._since))
            self._is_read = self._has_room(patience)
            self._since = time.monotonic()
            self._patience = max(0.0, patience - (self._since - now))
        return self._is_read

    def _has_room(self, within: float) -> bool:
        """Tell whether ``PIPE_BUF`` bytes can be written after so many seconds at most."""
        poll = select.poll()  # one for all calls would not do: threads may log as well
        poll.register(self._descriptor, select.POLLOUT)
        # A descriptor that has failed counts as one that takes them: the write says so.
        return bool(poll.poll(1000 * within))

    def _write(self, piece: bytes) -> int:
        """Write a piece, to a pipe or a socket without waiting; return how much was taken.

        Standard error is shared: another process may have filled the pipe since `_takes`, and its mode is
        not ours to change. So each write says that it must not wait. A pipe does not know that before
        Linux 6.5; there, as for a terminal, `_takes` has to do.
        """
        if not self._may_wait:
            try:
                return os.pwritev(self._descriptor, [piece], -1, os.RWF_NOWAIT)
            except BlockingIOError:
                return 0
            except OSError as error:
                if error.errno not in (errno.EOPNOTSUPP, errno.ESPIPE, errno.EINVAL):
                    raise
                self._may_wait = True
        return os.write(self._descriptor, piece)

    debug = info = warning = warn = error = critical = exception = fatal = log = msg
