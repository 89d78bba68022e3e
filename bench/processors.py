"""Which processor runs what, and before whom.

The proxy has one processor, load generator and upstream the others. Where the system allows it (root), all of
them go before the computer's other programs; and where latency is measured, the measuring side goes before
everything, so that a figure tells the proxy's delay and not the queue in front of the load generator.

A virtual machine adds what is no proxy's doing. To wake a process on another processor, the one that wakes it
leaves the guest: 3 to 14 µs of CPU, more than a message. And a processor with nothing to do halts; until
its host lets it go on, 20 to 100 µs pass. So where only one process works at a time, they share a processor
(`together`), and none halts while half of a load is on them (`awake`).
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

ALLOWED = sorted(os.sched_getaffinity(0))
NICE = -10
TURN = (sys.executable, "-S", "-c", "while True: pass")


def proxy_processors() -> set[int]:
    """The last processor is the proxy's: one core each, whatever it could use otherwise."""
    return {ALLOWED[-1]}


def other_processors() -> set[int]:
    """All the rest; the same one where there is only one."""
    return set(ALLOWED[:-1]) or {ALLOWED[0]}


def _settle(cpus: set[int]) -> None:
    os.sched_setaffinity(0, cpus)
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, NICE)


def pin(cpus: set[int]) -> Callable[[], None]:
    """For ``preexec_fn``: the child and everything it starts stays on these processors."""
    return partial(_settle, cpus)


@contextlib.contextmanager
def together(pids: Iterable[int]) -> Iterator[None]:
    """These processes, load generators and upstreams, on the proxy's processor for a while.

    For what goes to and fro one message at a time: no two of them work at once, so none takes another's time.
    """
    moved = []
    try:
        for pid in pids:
            os.sched_setaffinity(pid, proxy_processors())
            moved.append(pid)
        yield
    finally:
        for pid in moved:
            with contextlib.suppress(ProcessLookupError):
                os.sched_setaffinity(pid, other_processors())


@contextlib.contextmanager
def awake() -> Iterator[list[int]]:
    """No processor halts for a while: each has a process that gives way to everything else at once.

    It has to be of the session that is measured: between sessions it would have a share (see `ahead`).
    """
    with contextlib.ExitStack() as stack:
        turning = []
        for cpu in ALLOWED:
            process = stack.enter_context(subprocess.Popen(TURN, preexec_fn=partial(_idle, {cpu})))
            stack.callback(process.kill)
            turning.append(process.pid)
        yield turning


def _idle(cpus: set[int]) -> None:
    os.sched_setaffinity(0, cpus)
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


@contextlib.contextmanager
def ahead(setting: Path = Path("/proc/self/autogroup")) -> Iterator[None]:
    """Put this session before the computer's others for a while, where that is allowed.

    Many kernels give each session a share of its own (sched(7), autogroup), and niceness then counts among
    the processes of one session only. So all that is measured stays in one, or a proxy would be spared by its
    own processes and not by another proxy's; and the session as a whole goes before the others.
    """
    former = ""
    with contextlib.suppress(OSError):
        former = setting.read_text().split()[-1]
        setting.write_text(str(NICE))
    try:
        yield
    finally:
        if former:
            with contextlib.suppress(OSError):
                setting.write_text(former)


@contextlib.contextmanager
def real_time(pids: list[int], level: int = 1) -> Iterator[bool]:
    """These processes before all ordinary ones, for a while; False where that is not allowed."""
    given = []
    try:
        for pid in pids:
            os.sched_setscheduler(pid, os.SCHED_FIFO, os.sched_param(level))
            given.append(pid)
    except PermissionError:
        pass
    try:
        yield len(given) == len(pids)
    finally:
        for pid in given:
            with contextlib.suppress(ProcessLookupError):
                os.sched_setscheduler(pid, os.SCHED_OTHER, os.sched_param(0))
