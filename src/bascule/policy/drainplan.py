"""Which sessions are told when during a drain.

Rules of this file: pure; randomness comes as an argument.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence


def plan(
    rows: Sequence[tuple[int, float]],
    *,
    rate: float,
    window: float | None,
    available: float,
    randomness: random.Random,
) -> list[tuple[int, float]]:
    """Return ``(session id, delay in seconds)`` in order of delay, quietest session first.

    The first to go are those that nobody is looking at, and a busy one gets the longest
    time to finish. Each session has a slot of the same width and is told at a random
    point of it: as many per second as the rate says, and never on a beat that clients
    could fall into step with.

    Args:
        rows: Session id, and seconds since its last data frame.
        rate: Sessions per second; 0 for all at once.
        window: Seconds to spread all of them over, instead of a rate; ``None`` for the rate.
        available: Seconds there are; the spread never takes longer.
        randomness: Source of jitter.
    """
    if not rows:
        return []
    if window is not None:
        spread = window
    elif rate > 0:
        spread = len(rows) / rate
    else:
        spread = 0.0
    spread = min(spread, max(0.0, available))
    slot = spread / len(rows)
    quietest_first = sorted(rows, key=lambda row: (-row[1], row[0]))
    return [
        (identifier, (position + randomness.random()) * slot)
        for position, (identifier, _) in enumerate(quietest_first)
    ]
