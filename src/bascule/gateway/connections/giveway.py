"""Lets the forwarders run between two things that the gateway does.

The gateway's share is a seventieth of a core that forwarders want (supervisor/scheduling.py). Yet a forwarder
that wakes up beside the gateway may have to wait for the clock's next tick, 4 ms on many kernels: it has just
run, so it may claim some microseconds less than its share, and the scheduler looks again only at a tick, or
when a process gives way. Beside a transfer and a download on one core a keystroke took 2.4 ms
at p99 without this and 0.5 with it, and the download was as fast. Beside upgrades that are refused as fast as
they come it took 1.0 ms without and 0.3 with it, for 4 % of the CPU of a handshake or a refusal at most.

Where other processes want the core as well, each time may cost a quarter of a second: then the gateway gives
way seldom, since it hardly ever has the core. Behind ten busy processes, the first of 64 clients that came at
once was answered after 15 to 18 s when it gave way each time, and after 2 to 7 s when it did not.
"""

from __future__ import annotations

import os
import time
from typing import Final

__all__ = ["give_way", "give_way_after"]

_LARGE: Final = 16 * 1024
"""Bytes from which on a piece is large. A smaller one is moved so fast that we need not give way."""

_LONG: Final = 0.05
"""Seconds after which we have the processor again only if others than forwarders want it."""

_SELDOM: Final = 10
"""Times as long as that took, we give way to nobody then."""

_LONGEST: Final = 1.0
"""Most seconds that count of it: this process may have been stopped meanwhile."""


class _Turns:
    """When this process gives way again, monotonic."""

    not_before = 0.0


def give_way() -> None:
    """Let another process have the processor: many connections may have come at once, 0.1 ms each."""
    began = time.monotonic()
    if began < _Turns.not_before:
        return
    os.sched_yield()
    ended = time.monotonic()
    if ended - began > _LONG:
        _Turns.not_before = ended + _SELDOM * min(ended - began, _LONGEST)


def give_way_after(moved: int) -> None:
    """Let another process have the processor, if the piece that was moved is large.

    Args:
        moved: Its bytes.
    """
    if moved >= _LARGE:
        give_way()
