"""Notes in the shared counters how long each process was on a CPU, and how long it waited for one.

A process that is killed cannot say what it has used, and what a gateway knows of the forwarders dies with it.
The supervisor outlives both. The kernel keeps the figures of a process that has ended until we take its exit
status, so nothing is lost.

The kernel counts a wait for a core when it is over. One that lasts is counted here while it lasts: the
watchdog must not take a process for one that hangs which has had no core for twenty seconds.

Rules of this file: one writer for these words, and none is ever lowered.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from bascule.handover.counters import CounterFile
    from bascule.supervisor.agenda import DoLater
    from bascule.supervisor.child import Child
    from bascule.telemetry.load import ProcessReading

__all__ = ["Readable", "Usage"]

_NOTE_EVERY: Final = 1.0
"""Seconds between two notes: the watchdog wakes us as often anyway."""


class Readable(Protocol):
    """See `bascule.telemetry.processes.Processes`."""

    def read(self, pid: int) -> ProcessReading | None:
        """Return what a process has used; ``None`` when it cannot be read."""

    def is_ready(self, pid: int) -> bool:
        """Tell whether it has a core or waits for one."""


class Usage:
    """Notes the use of all processes.

    Args:
        counters: Where it is noted.
        processes: Reads them.
        do_later: Calls something after that many seconds.
        clock: Gives monotonic time in seconds.
    """

    def __init__(
        self,
        counters: CounterFile,
        processes: Readable,
        do_later: DoLater,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._counters = counters
        self._processes = processes
        self._do_later = do_later
        self._clock = clock
        self._before: dict[Child, tuple[int, int]] = {}
        self._ready: dict[Child, tuple[float, float]] = {}

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
        self._ready.pop(child, None)

    def _note(self, child: Child) -> None:
        assert child.process is not None
        pid = child.process.pid
        reading = self._processes.read(pid)
        if reading is None:
            return
        waits = reading.wait_seconds + self._still_waits(child, pid, reading.cpu_seconds)
        words, layout = child.block(self._counters), child.layout
        cpu_before, wait_before = self._before[child]
        for word, before, seconds in (
            (layout.CPU_NANOSECONDS, cpu_before, reading.cpu_seconds),
            (layout.WAIT_NANOSECONDS, wait_before, waits),
        ):
            words[word] = max(words[word], before + round(seconds * 1e9))

    def _still_waits(self, child: Child, pid: int, cpu: float) -> float:
        """Return for how many seconds a process has been seen to wait for a core that it has not had yet."""
        if not self._processes.is_ready(pid):
            self._ready.pop(child, None)
            return 0.0
        now = self._clock()
        was_ready = self._ready.get(child)
        if was_ready is None or was_ready[0] != cpu:
            self._ready[child] = cpu, now
            return 0.0
        return now - was_ready[1]
