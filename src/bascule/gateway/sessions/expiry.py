"""Closes sessions whose login is over (``auth.session.closeAtExpiry``).

A token expires by the clock on the wall, which may be set: so we compare that with each session's token every
second, and set no timers. A session whose Close could not be ordered is told in the next second.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from bascule.protocol.closing import End

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from bascule.gateway.sessions.registry import Record

__all__ = ["close_expired", "keep_closing_expired"]

_LOOK_EVERY: Final = 1.0
"""Seconds between two looks at all sessions; one look at 500 takes some 30 µs."""


def close_expired(
    sessions: Iterable[Record], close: Callable[[int, int, End], object], leeway: float, now: float
) -> None:
    """Order each session closed whose token is no longer good.

    Args:
        sessions: All sessions.
        close: Orders one closed: with its slot, its id and the row of the close table.
        leeway: Seconds for which a token is good after its expiry.
        now: Seconds since 1970.
    """
    for record in sessions:
        expires = record.errand.expires
        if expires is not None and expires + leeway <= now:
            close(record.slot, record.id, End.EXPIRED)


async def keep_closing_expired(
    sessions: Iterable[Record], close: Callable[[int, int, End], object], leeway: float
) -> None:
    """Do so again and again; see `close_expired`.

    Cancellation: safe.
    """
    while True:
        close_expired(sessions, close, leeway, time.time())
        await asyncio.sleep(_LOOK_EVERY)
