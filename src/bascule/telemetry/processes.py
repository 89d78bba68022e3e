"""What Linux says about our processes: CPU time, memory, descriptors, limits.

Rules of this file: it reads only `/proc` and, through `cgroups`, `/sys/fs/cgroup`; every path begins at a
root that a test can replace. When a process is gone, or a file is absent or may not be read, that is no
error: the function returns ``None``, or the fallback that it names. Only `/proc/meminfo` must be there.
"""

from __future__ import annotations

import os
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from bascule.telemetry.cgroups import groups
from bascule.telemetry.load import ProcessReading

if TYPE_CHECKING:
    from collections.abc import Iterable
    from contextlib import AbstractContextManager

__all__ = ["Descriptors", "Processes"]

_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_TICK: Final = 1.0 / os.sysconf("SC_CLK_TCK")
_NO_SPARE: Final = nullcontext()


class Descriptors(NamedTuple):
    """Open file descriptors of one process and how many it may have."""

    open: int
    limit: int


class Processes:
    """Read processes of this machine.

    Args:
        root: Where `/proc` and `/sys` are.
        spare: Entered around each reading of a file, so that it succeeds when no descriptor is left.
    """

    def __init__(self, root: Path = Path("/"), spare: AbstractContextManager[None] = _NO_SPARE) -> None:
        self._root = root
        self._proc = root / "proc"
        self._spare = spare

    def read(self, pid: int) -> ProcessReading | None:
        """Return the load of a process, or ``None`` when it is gone.

        The times are those of the main thread: in a forwarder the only one, in a gateway the one that does
        everything but look up names. A process that has ended can still be read until its parent has taken
        its exit status. Where the kernel keeps no scheduler statistics, CPU time comes from `stat` in steps
        of 10 ms, of all threads, and waiting time is 0.
        """
        resident = self.resident_bytes(pid)
        if resident is None:
            return None
        words = (self._text(pid, "schedstat") or "").split()
        if len(words) == 3 and words[2] != "0":
            return ProcessReading(int(words[0]) / 1e9, int(words[1]) / 1e9, resident)
        stat = self._stat(pid)
        if len(stat) < 13:
            return None
        return ProcessReading((int(stat[11]) + int(stat[12])) * _TICK, 0.0, resident)

    def is_ready(self, pid: int) -> bool:
        """Tell whether the main thread of a process has a core or waits for one; false when it is gone."""
        return self._stat(pid)[:1] == ["R"]

    def resident_bytes(self, pid: int) -> int | None:
        """Return the resident set of a process, shared pages included; ``None`` when it is gone."""
        words = (self._text(pid, "statm") or "").split()
        return int(words[1]) * _PAGE if len(words) > 1 else None

    def children(self, pid: int, name: str) -> list[int]:
        """Return the children of a process that have a name; none where the kernel does not list them."""
        return [
            int(child)
            for child in (self._text(pid, f"task/{pid}/children") or "").split()
            if (self._text(int(child), "comm") or "").rstrip("\n") == name
        ]

    def memory_used(self, pids: Iterable[int]) -> int:
        """Return the memory of several processes together; a process that is gone counts as 0.

        What processes share is divided among them: a gateway begins as a copy of the supervisor, and much of
        it stays that. Where the kernel does not tell that (before Linux 4.14), shared pages count in each.
        """
        return sum(self._proportional_bytes(pid) or self.resident_bytes(pid) or 0 for pid in pids)

    def memory_limit(self) -> int:
        """Return how many bytes we may use: the smallest limit of our control groups, or all memory.

        Raises:
            OSError: `/proc/meminfo` cannot be read.
        """
        with self._spare:
            limits = [
                int(word)
                for group in groups("memory", self._root)
                for word in group.words("memory.max" if group.version == 2 else "memory.limit_in_bytes")
                if word.isdigit()
            ]
            return min([self._memory_total(), *limits])

    def descriptors(self, pid: int) -> Descriptors | None:
        """Return the open descriptors of a process and its limit; ``None`` when they cannot be read."""
        directory = self._proc / str(pid) / "fd"
        try:
            # Since Linux 6.2 the directory's size is the number; before, it is 0 and we count.
            if not (count := directory.stat().st_size):
                with self._spare:
                    count = len(os.listdir(directory))
        except OSError:
            return None
        for line in (self._text(pid, "limits") or "").splitlines():
            if line.startswith("Max open files"):
                soft = line.split()[3]
                return Descriptors(count, int(soft)) if soft.isdigit() else None
        return None

    def tightest_descriptors(self, pids: Iterable[int]) -> Descriptors:
        """Return the descriptors of the process that has used up the largest share of its limit.

        Returns:
            Zeroes when no process can be read.
        """
        found = [descriptors for pid in pids if (descriptors := self.descriptors(pid)) is not None]
        return max(found, key=lambda d: d.open / max(d.limit, 1), default=Descriptors(0, 0))

    def _proportional_bytes(self, pid: int) -> int | None:
        for line in (self._text(pid, "smaps_rollup") or "").splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
        return None

    def _stat(self, pid: int) -> list[str]:
        """Return the words behind a process's name, which may itself hold spaces and parentheses.

        They are its state and, as the 12th and 13th, utime and stime; none when it is gone.
        """
        return (self._text(pid, "stat") or "").rpartition(")")[2].split()

    def _text(self, pid: int, name: str) -> str | None:
        try:
            with self._spare:
                return (self._proc / str(pid) / name).read_text(encoding="ascii", errors="replace")
        except OSError:
            return None

    def _memory_total(self) -> int:
        for line in (self._proc / "meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemTotal:"):
                return int(line.split()[1]) * 1024
        raise OSError("no MemTotal in meminfo")
