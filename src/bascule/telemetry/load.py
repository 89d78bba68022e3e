"""CPU cores and allocation rate of the forwarders, from readings on a fixed tick.

The contract's figures are deltas divided by wall-clock time. If scrapes took the readings, two
scrapers would shorten each other's window. So a background tick (one second) reads the
forwarders and keeps a ring of readings. A scrape only divides: the newest reading minus the
one a window (10 s) before it, by the time between the two.

A forwarder that is replaced starts counting from zero. A *slot* does not: it keeps what its
former processes used, so no rate is ever negative. What a process used between its last reading and its
death, at most a second, is not seen. A gateway that retires hands all readings over, since the forwarders
go on. The totals that are shown as counters outlive a gateway's death as well, so the supervisor keeps them
(`bascule.supervisor.usage`).

Two times come from the scheduler (`/proc/PID/schedstat`): the time a process was on a CPU, and
the time it was ready to run but waited for one. The second shows what a CPU limit costs users;
no figure of the contract does.

Rules of this file: pure; the clock and the reader are given. One thread ticks and reads.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["LoadMeter", "ProcessReading"]


class ProcessReading(NamedTuple):
    """What one process has used since it started, and what it holds.

    Attributes:
        cpu_seconds: Time on a CPU.
        wait_seconds: Time ready to run without a CPU.
        resident_bytes: Memory held now.
    """

    cpu_seconds: float
    wait_seconds: float
    resident_bytes: int


class _Tick(NamedTuple):
    """One reading of all forwarders.

    Attributes:
        at: Monotonic seconds.
        cpu_seconds: Time on a CPU by slot, of all processes that it has had.
        allocated: Bytes that all forwarders together ever requested.
    """

    at: float
    cpu_seconds: tuple[float, ...]
    allocated: int


class _Slot:
    """One slot: what its dead processes used, and the last reading of the present one."""

    __slots__ = ("_cpu_before", "_last", "_pid")

    def __init__(self) -> None:
        self._pid: int | None = None
        self._last = ProcessReading(0.0, 0.0, 0)
        self._cpu_before = 0.0

    def take(self, pid: int | None, reading: ProcessReading | None) -> None:
        """Take in the present process and its reading; ``None`` where there is none."""
        # A total that fell is another process under a recycled id.
        replaced = pid != self._pid or (reading is not None and reading.cpu_seconds < self._last.cpu_seconds)
        if replaced:
            self._cpu_before += self._last.cpu_seconds
            self._last = ProcessReading(0.0, 0.0, 0)
            self._pid = pid
        if reading is not None:
            self._last = reading
        else:
            self._last = self._last._replace(resident_bytes=0)

    def dump(self) -> tuple[int | None, ProcessReading, float]:
        return self._pid, self._last, self._cpu_before

    @classmethod
    def of(cls, dumped: Sequence[Any]) -> Self:
        slot = cls()
        slot._pid, last, slot._cpu_before = dumped
        slot._last = ProcessReading(*last)
        return slot

    @property
    def cpu_seconds(self) -> float:
        return self._cpu_before + self._last.cpu_seconds

    @property
    def resident_bytes(self) -> int:
        return self._last.resident_bytes


class LoadMeter:
    """Measure the forwarders.

    Args:
        slots: Number of forwarder slots.
        read: Gives the reading of a process id; ``None`` when it is gone or cannot be read.
        window: Seconds that a rate looks back.
    """

    __slots__ = ("_read", "_slots", "_ticks", "_window")

    def __init__(
        self, slots: int, read: Callable[[int], ProcessReading | None], *, window: float = 10.0
    ) -> None:
        self._slots = [_Slot() for _ in range(slots)]
        self._read = read
        self._window = window
        self._ticks: deque[_Tick] = deque()

    def tick(self, now: float, pids: Sequence[int | None], allocated: int) -> None:
        """Read all forwarders once.

        Args:
            now: Monotonic seconds; a tick that is not later than the one before is ignored.
            pids: Process id by slot; ``None`` or 0 for a slot without a process at the moment.
            allocated: Bytes that all forwarders together ever requested; must not fall.

        Raises:
            ValueError: There are more or fewer ids than slots.
        """
        if self._ticks and now <= self._ticks[-1].at:
            return
        for slot, pid in zip(self._slots, pids, strict=True):
            slot.take(pid, self._read(pid) if pid else None)
        cpu = tuple(slot.cpu_seconds for slot in self._slots)
        self._ticks.append(_Tick(now, cpu, allocated))
        # Keep one reading that is a whole window old, so that a rate covers all of it.
        while len(self._ticks) > 2 and self._ticks[1].at <= now - self._window:
            self._ticks.popleft()

    def dump(self) -> dict[str, Any]:
        """Return all readings, for another process of this machine, which has the same monotonic clock."""
        return {"slots": [slot.dump() for slot in self._slots], "ticks": list(self._ticks)}

    def restore(self, dumped: Mapping[str, Any]) -> None:
        """Replace all readings by those of another meter; ignore them if it had another number of slots.

        Args:
            dumped: What `dump` returned, also after JSON.
        """
        if len(dumped["slots"]) != len(self._slots):
            return
        self._slots = [_Slot.of(slot) for slot in dumped["slots"]]
        self._ticks = deque(_Tick(at, tuple(cpu), allocated) for at, cpu, allocated in dumped["ticks"])

    def cpu_cores(self, now: float) -> float:
        """Return the CPU cores that all forwarders use.

        Returns:
            0.0 while there are fewer than two readings, and when the last one is older than the window.
        """
        return sum(self.slot_cores(slot, now) for slot in range(len(self._slots)))

    def slot_cores(self, slot: int, now: float) -> float:
        """Return the CPU cores that one slot uses; 0.0 as for `cpu_cores`."""
        span = self._span(now)
        if span is None:
            return 0.0
        first, last = span
        return (last.cpu_seconds[slot] - first.cpu_seconds[slot]) / (last.at - first.at)

    def allocated_per_second(self, now: float) -> float:
        """Return the bytes that all forwarders request in a second; 0.0 as for `cpu_cores`."""
        span = self._span(now)
        if span is None:
            return 0.0
        first, last = span
        return max(0.0, (last.allocated - first.allocated) / (last.at - first.at))

    def resident_bytes(self, slot: int) -> int:
        """Return the memory of a slot's present process as of the last tick; 0 while there is none."""
        return self._slots[slot].resident_bytes

    def __len__(self) -> int:
        return len(self._slots)

    def _span(self, now: float) -> tuple[_Tick, _Tick] | None:
        """Return the two readings that a rate is made of, ``None`` without.

        There are none once the ticks have stopped for a window: an old rate must not pass for the present.
        """
        if len(self._ticks) < 2 or now - self._ticks[-1].at > self._window:
            return None
        return self._ticks[0], self._ticks[-1]
