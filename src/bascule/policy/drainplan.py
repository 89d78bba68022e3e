"""When a drain tells each session to end.

Rules of this file: pure; randomness comes as an argument.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

__all__ = ["cut_after", "plan", "slot_width"]

_LEAVING: Final = 0.5
"""Seconds that our processes need to exit after the last session has ended."""


def cut_after(timeout: float) -> float:
    """Return the seconds after which the remaining sessions are cut, so that a stop fits its time-out.

    Args:
        timeout: ``drain.timeout``, in seconds.
    """
    return timeout - min(_LEAVING, timeout / 4)


def slot_width(count: int, *, rate: float, window: float | None, available: float) -> float:
    """Return the seconds from telling one session to end until telling the next.

    Args:
        count: Sessions still to be told.
        rate: Sessions per second; 0 for all at once.
        window: Seconds to spread all of them over, instead of a rate; ``None`` for the rate.
        available: Most seconds that the spread may take, even if the rate is then exceeded: the
            browser of a session that is told in time reconnects without an error.
    """
    if not count:
        return 0.0
    if window is not None:
        spread = window
    elif rate > 0:
        spread = count / rate
    else:
        spread = 0.0
    return max(0.0, min(spread, available)) / count


def plan(
    rows: Sequence[tuple[int, float]], *, slot: float, randomness: random.Random
) -> list[tuple[int, float]]:
    """Return ``(session id, delay in seconds)`` in order of delay, quietest session first.

    Quiet sessions go first, since probably no user is looking at them, and a busy one gets the
    longest time to finish. Each session has a slot of the same width and is told at a random
    point of it. So the rate is kept, and the clients do not all come back in step.

    Args:
        rows: Session id, and seconds since its last data frame.
        slot: As `slot_width` has it.
        randomness: Source of jitter.
    """
    quietest_first = sorted(rows, key=lambda row: -row[1])
    return [
        (identifier, (position + randomness.random()) * slot)
        for position, (identifier, _) in enumerate(quietest_first)
    ]
