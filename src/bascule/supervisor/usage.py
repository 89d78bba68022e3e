"""Notes in the shared counters how long each process was on a CPU, and how long it waited for one.

A process that is killed cannot say what it has used, and what a gateway knows of the forwarders dies with it.
The supervisor outlives both. The kernel keeps the figures of a process that has ended until we take its exit
status, so nothing is lost.

Rules of this file: one writer for these words, and none is ever lowered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from bascule.handover.counters import CounterFile
    from bascule.supervisor.agenda import DoLater
    from bascule.supervisor.child import Child
    from bascule.telemetry.load import ProcessReading

__all__ = ["Usage"]

_NOTE_EVERY: Final = 1.0
"""Seconds between two notes: the watchdog wakes us as often anyway."""


class Usage:
    """Notes the use of all processes.

    Args:
        counters: Where it is noted.
        read: Gives the reading of a process id; ``None`` when it cannot be read.
        do_later: Calls something after that many seconds.
    """

    def __init__(
        self, counters: CounterFile, read: Callable[[int], ProcessReading | None], do_later: DoLater
    ) -> None:
        self._counters = counters
        self._read = read
        self._do_later = do_later
        self._before: dict[Child, tuple[int, int]] = {}

    def run(self) -> None:
        """Note what all processes have used, now and every `_NOTE_EVERY`."""
        self._do_later(_NOTE_EVERY, self.run)
        for child in self._before:
            self._note(child)

    def started(self, child: Child) -> None:
        """Add what a process uses from now on to what those before it in its place used."""
        words, layout = child.block(self._counters), child.layout
        self._before[child] = words[layout.CPU_NANOSECONDS], words[layout.WAIT_NANOSECONDS]

    def has_died(self, child: Child) -> None:
        """Note what a process has used in all; its exit status must not have been taken yet."""
        self._note(child)
        self._before.pop(child, None)

    def _note(self, child: Child) -> None:
        assert child.process is not None
        reading = self._read(child.process.pid)
        if reading is None:
            return
        words, layout = child.block(self._counters), child.layout
        cpu_before, wait_before = self._before[child]
        for word, before, seconds in (
            (layout.CPU_NANOSECONDS, cpu_before, reading.cpu_seconds),
            (layout.WAIT_NANOSECONDS, wait_before, reading.wait_seconds),
        ):
            words[word] = max(words[word], before + round(seconds * 1e9))
