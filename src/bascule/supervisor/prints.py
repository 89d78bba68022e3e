"""What the other processes print, as lines of the log.

The log has one form, by which collectors read it. An interpreter that crashes, or is told to say where it
hangs, prints its stack in another, and so does what fails below our code. So the standard error of each of
them is a pipe to the supervisor: what comes together becomes one line.

Rules of this file: nobody waits for the other. A pipe that is full takes no more, and what is much is cut.
"""

from __future__ import annotations

import contextlib
import os
import selectors
from typing import TYPE_CHECKING, Final

import structlog

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bascule.supervisor.agenda import DoLater
    from bascule.supervisor.child import Child

__all__ = ["Prints"]

_log = structlog.get_logger()

_TOGETHER: Final = 1.0
"""Seconds from the first bytes to the line: a stack comes in many pieces."""

_MOST: Final = 16 * 1024
"""Bytes that a line may have of what was printed; the rest of that line is dropped."""


class _Pipe:
    """The pipe of one child.

    Attributes:
        reading: Our end.
        pid: The process at the other end.
        text: What it has printed since its last line.
    """

    def __init__(self, reading: int, pid: int) -> None:
        self.reading = reading
        self.pid = pid
        self.text = bytearray()

    def read(self) -> bool:
        """Read what there is; tell whether there may be more later."""
        try:
            while some := os.read(self.reading, 65536):
                self.text += some[: _MOST - len(self.text)]
        except BlockingIOError:
            return True
        return False


class Prints:
    """The pipes of all children.

    Args:
        selector: Tells when somebody has printed something.
        do_later: Calls something after that many seconds.
    """

    def __init__(self, selector: selectors.BaseSelector, do_later: DoLater) -> None:
        self._selector = selector
        self._do_later = do_later
        self._pipes: dict[Child, _Pipe] = {}

    @contextlib.contextmanager
    def pipe(self, child: Child) -> Iterator[int]:
        """Yield the descriptor to which a child prints that is started in this block.

        Raises:
            OSError: There are no descriptors left.
        """
        reading, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            yield writing
        except BaseException:
            os.close(reading)
            raise
        finally:
            os.close(writing)
        assert child.process is not None
        self._pipes[child] = _Pipe(reading, child.process.pid)

    def watch(self, child: Child) -> None:
        """Log what a child prints from now on.

        Raises:
            OSError: There is no memory, or no epoll watch.
        """
        pipe = self._pipes[child]
        self._selector.register(pipe.reading, selectors.EVENT_READ, lambda: self._on_readable(child, pipe))

    def end(self, child: Child) -> None:
        """Log what a child has printed last, and forget it."""
        if (pipe := self._pipes.pop(child, None)) is not None:
            pipe.read()
            self._unwatch(pipe)
            os.close(pipe.reading)
            _say(child, pipe)

    def _on_readable(self, child: Child, pipe: _Pipe) -> None:
        had = bool(pipe.text)
        if not pipe.read():
            self._unwatch(pipe)  # the process has died, and is being reaped
        if pipe.text and not had:
            self._do_later(_TOGETHER, lambda: _say(child, pipe))

    def _unwatch(self, pipe: _Pipe) -> None:
        with contextlib.suppress(KeyError):
            self._selector.unregister(pipe.reading)


def _say(child: Child, pipe: _Pipe) -> None:
    """Log what one process has printed since its last line, if anything."""
    if pipe.text:
        text, pipe.text = pipe.text.decode("utf-8", "replace"), bytearray()
        _log.error("a process printed", child=child.name, pid=pipe.pid, stack=text.strip("\n"))
