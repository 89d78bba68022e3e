"""Signals before the supervisor catches them: while we read files, and wait for addresses or tools.

The kernel drops signals without a handler that are sent to the first process of a container, which would then
go on until it is killed; elsewhere SIGHUP would end a proxy that is to load its configuration again.

SIGTERM ends the command through its exit stacks, as SIGINT does in Python. Signals with a meaning for a
proxy that serves are kept until it serves.

Rules of this file: a process has one set of handlers, so the signals they keep are global as well. This file
is imported before all else.
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
        """End the process by the signal, as its sender expects."""
        signal.signal(self._number, signal.SIG_DFL)
        signal.raise_signal(self._number)
        sys.exit(self.code)  # the first process of a container does not die of the signal


class _Kept:
    """The signals that came in so far, and which of them end the command."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.ends: set[int] = set()
        self.is_held = False
        self.is_over = False

    def on_signal(self, number: int, _frame: FrameType | None) -> None:
        self.numbers.append(number)
        self.act()

    def act(self) -> None:
        """End the command if a signal that came in is to; only once, so that it can end in order.

        Raises:
            Stopped: Such a signal came in.
        """
        if self.is_held or self.is_over:
            return
        for number in self.numbers:
            if number in self.ends:
                self.is_over = True
                raise Stopped(number)


_kept: Final = _Kept()


def heeds(number: int) -> bool:
    """Tell whether we catch a signal.

    We leave SIGHUP alone if it is ignored, as nohup does. For SIGINT that means nothing: it is ignored in
    every process that a script runs in the background.
    """
    return number != signals.HANG_UP or signal.getsignal(number) is not signal.SIG_IGN


def catch() -> None:
    """Install the handlers, except for SIGINT: Python has a handler that ends the command."""
    _kept.ends = {signal.SIGTERM, *((signals.HANG_UP,) if terminal.is_there() else ())}
    for number in (signal.SIGTERM, signals.HANG_UP, *signals.IGNORED):
        if heeds(number):
            signal.signal(number, _kept.on_signal)


def end_on_hang_up() -> None:
    """Let SIGHUP end the command, also one that came in earlier: there will be nothing to load again.

    Raises:
        Stopped: SIGHUP came in earlier.
    """
    _kept.ends.add(signals.HANG_UP)
    _kept.act()


@contextlib.contextmanager
def held() -> Iterator[None]:
    """Hold signals back while something is begun and an exit stack learns how to end it.

    Raises:
        Stopped: A signal came in meanwhile; raised after the block.
    """
    _kept.is_held = True
    try:
        yield
    finally:
        _kept.is_held = False
    _kept.act()


def take() -> list[int]:
    """Return and forget the signals that are kept, in order, when `CaughtSignals` catches further ones."""
    numbers, _kept.numbers = _kept.numbers, []
    return numbers
