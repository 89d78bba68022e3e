"""How the kernel takes turns with our processes: the forwarders first, the gateway after them.

A keystroke waits for whoever has the processor when it arrives. Linux's scheduler (EEVDF)
lets that one finish its slice, 3 ms as a rule, and notices its end only when somebody wakes
up or the clock ticks. A short slice takes nothing from anybody's share: turns become
smaller, and the others come sooner.

The forwarders keep the system's slice: woken sooner they find less in each read, and large
messages with several under way cost a third more.

Rules of this file: everything here is a wish. Kernels before 6.12 take it and go on as they
did; a system that refuses it changes nothing but the latency under load.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import struct
from typing import Final

SLICE: Final = 100_000
"""Nanoseconds of a turn of the gateway: the shortest the kernel grants."""

NICENESS: Final = 19
"""How far the gateway stands back behind the forwarders (nice(1)): as far as that goes. A forwarder that
wakes up with less behind it than its share waits for the next tick of the clock, and the
smaller the gateway's share the seldomer that is. Where forwarders want every core the gateway keeps
a seventieth, which is enough for probes."""

_SYSCALL: Final = {"x86_64": 314, "aarch64": 274}
"""Number of sched_setattr(2), which neither Python nor the C libraries of today's distributions wrap."""

_ATTRIBUTES: Final = struct.Struct("=IIQiIQQQ")
"""``struct sched_attr`` as of Linux 3.14: size, policy, flags, nice, priority, runtime, deadline, period."""


def stand_back(pid: int) -> None:
    """Put the gateway behind the forwarders: a small share, short turns, and it never pre-empts anybody.

    Sessions under way come before handshakes when processors are short: a storm of
    refusals must not be felt by those who are in.
    """
    with contextlib.suppress(OSError):  # not allowed; or it has just died
        nice = min(19, os.getpriority(os.PRIO_PROCESS, pid) + NICENESS)
        os.setpriority(os.PRIO_PROCESS, pid, nice)
        os.sched_setscheduler(pid, os.SCHED_BATCH, os.sched_param(0))
        if (number := _SYSCALL.get(platform.machine())) is not None:
            wanted = _ATTRIBUTES.pack(_ATTRIBUTES.size, os.SCHED_BATCH, 0, nice, 0, SLICE, 0, 0)
            ctypes.CDLL(None).syscall(number, pid, ctypes.create_string_buffer(wanted), 0)
