"""Closes sessions whose login is over (``auth.session.closeAtExpiry``).

A token expires by the clock on the wall, which may be set: so we compare that with each session's token every
second, and set no timers. A session whose Close could not be ordered is told in the next second. None is told
twice: whoever takes slowly what was said before the Close would be cut by that.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from bascule.protocol.closing import End

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from bascule.gateway.sessions.registry import Record

__all__ = ["close_expired", "keep_closing_expired"]

_LOOK_EVERY: Final = 1.0
"""Seconds between two looks at all sessions; one look at 500 takes some 30 µs."""


def close_expired(
    sessions: Iterable[Record],
    close: Callable[[int, int, End], bool],
    leeway: float,
    now: float,
    told: Collection[int] = (),
) -> set[int]:
    """Order each session closed whose token is no longer good.

    Args:
        sessions: All sessions.
        close: Orders one closed: with its slot, its id and the row of the close table; returns whether the
            order was sent.
        leeway: Seconds for which a token is good after its expiry.
        now: Seconds since 1970.
        told: What the call before returned.

    Returns:
        The sessions that were told, now or before, and are not over.
    """
    return {
        record.id
        for record in sessions
        if (expires := record.errand.expires) is not None
        and expires + leeway <= now
        and (record.id in told or close(record.slot, record.id, End.EXPIRED))
    }


async def keep_closing_expired(
    sessions: Iterable[Record], close: Callable[[int, int, End], bool], leeway: float
) -> None:
    """Do so again and again; see `close_expired`.

    Cancellation: safe.
    """
    told: set[int] = set()
    while True:
        told = close_expired(sessions, close, leeway, time.time(), told)
        await asyncio.sleep(_LOOK_EVERY)
