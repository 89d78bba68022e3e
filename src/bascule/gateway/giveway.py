"""Lets the forwarders come between two large pieces that the gateway moves.

Its share is a seventieth of a core that forwarders want (supervisor/scheduling.py), and yet one that wakes
up beside it may have to wait for the clock's next tick, 4 ms on many kernels: having just run, it has some
microseconds less to claim than its share, and the scheduler looks again only then, or when
somebody gives way. Beside a transfer and a download on one core a keystroke took 2.4 ms
at p99 without this and 0.5 with it, and the download was as fast.
"""

from __future__ import annotations

import os
from typing import Final

_LARGE: Final = 16 * 1024
"""Bytes from which on a piece is large. What is moved faster need not give way, and keeps its share."""


def give_way(moved: int) -> None:
    """Let whoever waits for the processor have it, if what was moved took long.

    Args:
        moved: Bytes.
    """
    if moved >= _LARGE:
        os.sched_yield()
