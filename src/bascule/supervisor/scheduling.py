"""How the kernel takes turns with our processes: the forwarders first, the gateway after them.

A keystroke waits for the process that has the processor when it arrives. Linux's scheduler (EEVDF)
lets that process finish its slice, 3 ms as a rule, and notices the end of the slice only when a process
wakes up or the clock ticks. A short slice does not change the share of any process: turns become
shorter, and other processes get theirs sooner.

The forwarders keep the system's slice: if they woke up sooner they would find less in each read, and
several large messages at once would cost a third more.

Rules of this file: everything here is a wish. Kernels before 6.12 accept a slice and ignore it; where
the system refuses a wish, only the latency under load suffers.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import struct
from typing import Final

__all__ = ["SLICE", "stand_back"]

SLICE: Final = 100_000
"""Nanoseconds of a turn of the gateway: the shortest slice that the kernel grants."""

_NICENESS: Final = 19
"""How far the gateway stands back behind the forwarders (nice(1)): as far as possible. A forwarder that
wakes up with less to claim than its share waits for the next tick of the clock; the smaller the
gateway's share, the more seldom that happens. If forwarders want every core, the gateway still has
a seventieth, which is enough for probes."""

_SYSCALL: Final = {"x86_64": 314, "aarch64": 274}
"""Number of sched_setattr(2), which neither Python nor the C libraries of today's distributions wrap."""

_ATTRIBUTES: Final = struct.Struct("=IIQiIQQQ")
"""``struct sched_attr`` as of Linux 3.14: size, policy, flags, nice, priority, runtime, deadline, period."""


def stand_back(pid: int) -> None:
    """Put the gateway behind the forwarders: a small share, short turns, and no pre-emption by it.

    Live sessions come before handshakes when processors are short: they must not suffer
    from a storm of refusals.
    """
    with contextlib.suppress(OSError):  # not allowed; or it has just died
        nice = min(19, os.getpriority(os.PRIO_PROCESS, pid) + _NICENESS)
        os.setpriority(os.PRIO_PROCESS, pid, nice)
        os.sched_setscheduler(pid, os.SCHED_BATCH, os.sched_param(0))
        if (number := _SYSCALL.get(platform.machine())) is not None:
            wanted = _ATTRIBUTES.pack(_ATTRIBUTES.size, os.SCHED_BATCH, 0, nice, 0, SLICE, 0, 0)
            ctypes.CDLL(None).syscall(number, pid, ctypes.create_string_buffer(wanted), 0)
