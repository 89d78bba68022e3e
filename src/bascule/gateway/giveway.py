"""Lets the forwarders run between two things that the gateway does.

The gateway's share is a seventieth of a core that forwarders want (supervisor/scheduling.py). Yet a forwarder
that wakes up beside the gateway may have to wait for the clock's next tick, 4 ms on many kernels: it has just
run, so it may claim some microseconds less than its share, and the scheduler looks again only at a tick, or
when a process gives way. Beside a transfer and a download on one core a keystroke took 2.4 ms
at p99 without this and 0.5 with it, and the download was as fast. Beside upgrades that are refused as fast as
they come it took 1.0 ms without and 0.3 with it, for 4 % of the CPU of a handshake or a refusal at most.
"""

from __future__ import annotations

import os
from typing import Final

__all__ = ["give_way", "give_way_after"]

_LARGE: Final = 16 * 1024
"""Bytes from which on a piece is large. A smaller one is moved so fast that we need not give way."""


def give_way() -> None:
    """Let another process have the processor: many connections may have come at once, 0.1 ms each."""
    os.sched_yield()


def give_way_after(moved: int) -> None:
    """Let another process have the processor, if the piece that was moved is large.

    Args:
        moved: Its bytes.
    """
    if moved >= _LARGE:
        os.sched_yield()
