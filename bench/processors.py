"""Which processor runs what, and before whom.

The proxy has one processor, load generator and upstream the others. Where the system allows it (root), all of
them go before the computer's other programs; and where latency is measured, the measuring side goes before
everything, so that a figure tells the proxy's delay and not the queue in front of the load generator.
"""

from __future__ import annotations

import contextlib
import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ALLOWED = sorted(os.sched_getaffinity(0))
NICE = -10


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
