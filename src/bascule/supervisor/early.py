"""The signals before the supervisor catches them: while files are read, and addresses or tools waited for.

Without a handler, the kernel drops what is sent to the first process of a container, which would then go on
until it is killed; and elsewhere SIGHUP would end a proxy that is to load its configuration again.

SIGTERM ends the command through its exit stacks, as SIGINT does in Python. What means something to a proxy
that serves is kept until it does.

Rules of this file: handlers are a whole process's, and so is what they keep. It is imported before all else.
"""

from __future__ import annotations

import contextlib
import signal
import sys
from typing import TYPE_CHECKING, Final, NoReturn

from bascule.handover import signals
from bascule.supervisor import terminal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

__all__ = ["Stopped", "catch", "end_on_hang_up", "heeds", "held", "take"]


class Stopped(SystemExit):
    """A signal ends the command.

    Args:
        number: The signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)  # what a shell reports
        self._number = number

    def end(self) -> NoReturn:
        """End the process by the signal, as whoever sent it expects."""
        signal.signal(self._number, signal.SIG_DFL)
        signal.raise_signal(self._number)
        sys.exit(self.code)  # the first process of a container does not die of it


class _Kept:
    """What came in so far, and what it is to do."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.ends: set[int] = set()
        self.is_held = False
        self.is_over = False

    def on_signal(self, number: int, _frame: FrameType | None) -> None:
        self.numbers.append(number)
        self.act()

    def act(self) -> None:
        """End the command, if a signal is to; once, for what it does then is to end in order."""
        if self.is_held or self.is_over:
            return
        for number in self.numbers:
            if number in self.ends:
                self.is_over = True
                raise Stopped(number)


_kept: Final = _Kept()


def heeds(number: int) -> bool:
    """Tell whether a signal is ours to catch.

    nohup's word counts. But SIGINT is ignored in all that a script runs in the background.
    """
    return number != signals.HANG_UP or signal.getsignal(number) is not signal.SIG_IGN


def catch() -> None:
    """Install the handlers. SIGINT stays as it is: Python has a handler, which ends the command."""
    _kept.ends = {signal.SIGTERM, *((signals.HANG_UP,) if terminal.is_there() else ())}
    for number in (signal.SIGTERM, signals.HANG_UP, *signals.IGNORED):
        if heeds(number):
            signal.signal(number, _kept.on_signal)


def end_on_hang_up() -> None:
    """Let SIGHUP end the command, also one that came in before: there will be nothing to load again."""
    _kept.ends.add(signals.HANG_UP)
    _kept.act()


@contextlib.contextmanager
def held() -> Iterator[None]:
    """Hold back the end between what is begun and the note, in an exit stack, of how to end it."""
    _kept.is_held = True
    try:
        yield
    finally:
        _kept.is_held = False
    _kept.act()


def take() -> list[int]:
    """Return what is kept, in order, once others catch the signals."""
    numbers, _kept.numbers = _kept.numbers, []
    return numbers
