"""Lets the forwarders run between two large pieces that the gateway moves.

The gateway's share is a seventieth of a core that forwarders want (supervisor/scheduling.py). Yet a forwarder
that wakes up beside the gateway may have to wait for the clock's next tick, 4 ms on many kernels: it has just
run, so it may claim some microseconds less than its share, and the scheduler looks again only at a tick, or
when a process gives way. Beside a transfer and a download on one core a keystroke took 2.4 ms
at p99 without this and 0.5 with it, and the download was as fast.
"""

from __future__ import annotations

import os
from typing import Final

__all__ = ["give_way"]

_LARGE: Final = 16 * 1024
"""Bytes from which on a piece is large. A smaller one is moved so fast that we need not give way."""


def give_way(moved: int) -> None:
    """Let another process have the processor, if the piece that was moved is large.

    Args:
        moved: Its bytes.
    """
    if moved >= _LARGE:
        os.sched_yield()
