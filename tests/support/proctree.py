"""The processes of a running proxy, by what they do.

Rules of this file: only children of the given process are looked at or signalled.
"""

import contextlib
import os
import signal
import time
from pathlib import Path

from bascule.gateway.setup import PROCESS_NAME
from tests.support.bascule import RunningBascule
from tests.support.waiting import eventually

__all__ = [
    "age",
    "alive",
    "children",
    "cpu_seconds",
    "descriptors",
    "forwarders",
    "gateway",
    "gateways",
    "kill",
    "links",
    "state",
]


def children(pid: int) -> dict[int, str]:
    """Return the children of a process with the module that each runs, or else the name of each."""
    try:
        pids = [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return {}
    found = {}
    for child in pids:
        try:
            words = Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")
            name = Path(f"/proc/{child}/comm").read_text().rstrip("\n")
        except OSError:
            continue
        if name == PROCESS_NAME:  # a copy of its parent, and so its arguments are too
            found[child] = name
        elif b"-m" in words:
            found[child] = words[words.index(b"-m") + 1].decode()
    return found


def _of(bascule: RunningBascule, module: str) -> list[int]:
    return sorted(pid for pid, runs in children(bascule.process.pid).items() if runs == module and alive(pid))


def gateway(bascule: RunningBascule) -> int:
    """Return the process id of the gateway, waiting until there is one and former ones have left."""

    def alone() -> list[int]:
        found = gateways(bascule)
        return found if len(found) == 1 else []

    return eventually(alone, 10, "there is one gateway")[0]


def gateways(bascule: RunningBascule) -> list[int]:
    """Return the process ids of all gateways, former ones too."""
    return _of(bascule, PROCESS_NAME)


def forwarders(bascule: RunningBascule) -> list[int]:
    """Return the process ids of the forwarders."""
    return _of(bascule, "bascule.forwarder")


def alive(pid: int) -> bool:
    """Tell whether a process runs; a zombie does not."""
    try:
        return state(pid) not in ("Z", "X")
    except OSError:
        return False


def state(pid: int) -> str:
    """Return the letter for what a process does, such as ``S`` for sleeping (proc_pid_stat(5))."""
    return _stat(pid)[0]


def kill(pid: int, number: signal.Signals = signal.SIGKILL) -> None:
    """Send a signal, and wait until the process is gone if the signal is one that ends it."""
    os.kill(pid, number)
    if number == signal.SIGKILL:
        eventually(lambda: not alive(pid), 10, f"{pid} is gone")


def descriptors(pid: int) -> set[int]:
    """Return the open descriptors of a process."""
    return {int(name) for name in os.listdir(f"/proc/{pid}/fd")}


def links(pid: int) -> dict[int, str]:
    """Return what the open descriptors of a process lead to, such as ``socket:[4711]``."""
    found = {}
    for descriptor in descriptors(pid):
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            found[descriptor] = os.readlink(f"/proc/{pid}/fd/{descriptor}")
    return found


def age(pid: int) -> float:
    """Return for how many seconds there has been a process; 0 if there is none."""
    with contextlib.suppress(OSError):
        began = int(_stat(pid)[19]) / os.sysconf("SC_CLK_TCK")
        return time.clock_gettime(time.CLOCK_BOOTTIME) - began
    return 0.0


def cpu_seconds(pid: int) -> float:
    """Return the CPU time a process has used."""
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _stat(pid: int) -> list[str]:
    """Return what the kernel says of a process behind its name."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
