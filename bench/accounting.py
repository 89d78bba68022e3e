"""What a proxy costs: processor time, user memory and kernel memory.

Processor time comes from each process's own clock (``clock_gettime`` on the CPU clock of a pid), which is the
sum the scheduler keeps in nanoseconds for every thread: the first column of ``/proc/PID/task/*/schedstat``
brought up to date, plus threads that have already ended. Time-outs, other programs and a slow neighbour
change how long a run takes, hardly how much the proxy consumes.

A proxy is a process with all its descendants. What a child that ended before the second reading had used is
lost, so the cost is an error then: a proxy that loses a process must not look like a cheap one.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from pathlib import Path

PROC = Path("/proc")


def descendants(pid: int) -> list[int]:
    """The process and everything below it, parents first."""
    found = [pid]
    for parent in found:
        try:
            tasks = list((PROC / str(parent) / "task").iterdir())
        except FileNotFoundError:
            continue
        for task in tasks:
            try:
                found.extend(int(child) for child in (task / "children").read_text().split())
            except FileNotFoundError:
                continue
    return found


def processor_ns(pid: int) -> int:
    """Nanoseconds on a processor since the process began, all threads; 0 once it is gone."""
    # The kernel's encoding of "CPU clock of this process, scheduler's precision" (CPUCLOCK_SCHED).
    clock = (~pid << 3) | 2
    try:
        return time.clock_gettime_ns(clock)
    except OSError:
        return 0


def waited_ns(pid: int) -> int:
    """Nanoseconds that the living threads spent runnable without a processor: how contended the run was."""
    total = 0
    try:
        tasks = list((PROC / str(pid) / "task").iterdir())
    except FileNotFoundError:
        return 0
    for task in tasks:
        try:
            total += int((task / "schedstat").read_text().split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
    return total


@dataclass(frozen=True)
class Reading:
    """Processor time of one proxy at one moment, by process."""

    at_ns: int
    run_ns: dict[int, int]
    wait_ns: int

    def since(self, earlier: Reading) -> Cost:
        """What was consumed between two readings.

        Raises:
            ProcessLookupError: A process had ended by the second.
        """
        gone = [pid for pid, ns in earlier.run_ns.items() if ns and not self.run_ns.get(pid)]
        if gone:
            raise ProcessLookupError(f"a process ended while it was measured: {gone}")
        by_process = {pid: ns - earlier.run_ns.get(pid, 0) for pid, ns in self.run_ns.items()}
        return Cost(
            cpu=sum(by_process.values()) / 1e9,
            wall=(self.at_ns - earlier.at_ns) / 1e9,
            waited=(self.wait_ns - earlier.wait_ns) / 1e9,
            by_process={pid: ns / 1e9 for pid, ns in by_process.items()},
        )


@dataclass(frozen=True)
class Cost:
    """Seconds: on a processor, on the wall, waiting for a processor."""

    cpu: float
    wall: float
    waited: float
    by_process: dict[int, float] = field(default_factory=dict)


def read_processor(pids: list[int]) -> Reading:
    """Read the clocks of these processes."""
    run = {pid: processor_ns(pid) for pid in pids}
    return Reading(time.monotonic_ns(), run, sum(waited_ns(pid) for pid in pids))


@dataclass(frozen=True)
class UserMemory:
    """Bytes a process can call its own: anonymous pages, and its share of shared memory."""

    anonymous: int
    shared: int

    @property
    def total(self) -> int:
        """Both."""
        return self.anonymous + self.shared


def user_memory(pid: int) -> UserMemory:
    """From smaps_rollup; zero when the process is gone."""
    try:
        text = (PROC / str(pid) / "smaps_rollup").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return UserMemory(0, 0)
    kib = {line.split(":")[0]: int(line.split()[1]) for line in text.splitlines()[1:]}
    return UserMemory(kib["Pss_Anon"] * 1024, kib.get("Pss_Shmem", 0) * 1024)


@dataclass(frozen=True)
class KernelMemory:
    """Bytes of the whole computer: slab caches, and pages in TCP buffers. Only differences mean anything."""

    slab: int
    tcp: int

    @property
    def total(self) -> int:
        """Both."""
        return self.slab + self.tcp


#: The slab caches that sockets live in. The sum over these is far calmer than the whole of Slab.
SOCKET_CACHES = {
    "TCP",
    "sock_inode_cache",
    "filp",
    "eventpoll_epi",
    "eventpoll_pwq",
    "dentry",
    "tcp_bind_bucket",
    "request_sock_TCP",
    "skbuff_head_cache",
    "skbuff_small_head",
    "skbuff_fclone_cache",
}


def kernel_memory() -> KernelMemory:
    """Slab from /proc/slabinfo (for others than root all of Slab in meminfo), TCP pages from sockstat."""
    slab = 0
    try:
        for line in (PROC / "slabinfo").read_text().splitlines()[2:]:
            words = line.split()
            if words[0] in SOCKET_CACHES or words[0].startswith("kmalloc"):
                slab += int(words[1]) * int(words[3])  # active objects times object size
    except PermissionError:
        meminfo = dict(line.split(":") for line in (PROC / "meminfo").read_text().splitlines())
        slab = int(meminfo["Slab"].split()[0]) * 1024
    tcp_pages = 0
    for line in (PROC / "net/sockstat").read_text().splitlines():
        if line.startswith("TCP:"):
            words = line.split()
            tcp_pages = int(words[words.index("mem") + 1])
    return KernelMemory(slab, tcp_pages * os.sysconf("SC_PAGE_SIZE"))


def command_line(pid: int) -> str:
    """The words of a process, joined; empty when it is gone."""
    try:
        return (
            (PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        )
    except (FileNotFoundError, ProcessLookupError):
        return ""
