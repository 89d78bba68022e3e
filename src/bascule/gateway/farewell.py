"""Goodbyes: what a peer still sends is read, and a closed connection is cut if its peer does not let go.

Rules of this file: every goodbye has an end, whatever the peer does.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

from bascule.gateway.bounded import Bounded
from bascule.gateway.waits import Waits

if TYPE_CHECKING:
    from collections.abc import Callable

    from bascule.gateway.legs import Leg

__all__ = ["FAREWELL_SECONDS", "dropped", "farewell"]

FAREWELL_SECONDS: Final = 2.0
"""Longest time, in seconds, to read what a peer still sends after our last bytes."""

FAREWELL_BYTES: Final = 1024 * 1024
"""Most bytes to read then. A peer that sends more than the largest request head is not listening."""

_LEAVING: Final = Bounded(1024)
"""Farewells under way, as many as the default of ``limits.maxHandshakes``. Each holds a descriptor and
nothing else; beyond that number the one that has had the most time ends."""


def dropped() -> Waits[asyncio.Transport]:
    """Return the `Waits` that abort closed connections whose peers do not take the rest in time."""
    return Waits(FAREWELL_SECONDS, lambda transport: transport.abort())


async def farewell(leg: Leg, is_last: Callable[[bytes], bool], leaving: Bounded = _LEAVING) -> None:
    """Read what the peer still sends: closing with unread bytes is a reset, which overtakes our last bytes.

    Args:
        leg: The connection, to which our last bytes have been written.
        is_last: Tells whether the bytes just read end the wait; the end of the stream ends it as well.
        leaving: All farewells under way.
    """
    left = FAREWELL_BYTES
    # Not a `Deadline`: it would abort a TLS connection, and lose bytes that a slow peer has still to take.
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(FAREWELL_SECONDS) as patience:
            leaving.enter(patience, lambda: None if patience.expired() else patience.reschedule(0))
            try:
                while left > 0 and (data := await leg.read()) and not is_last(data):
                    left -= len(data)
            finally:
                leaving.leave(patience)
