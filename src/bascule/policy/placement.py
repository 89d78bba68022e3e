"""Which forwarder gets the next session: the one with the fewest.

Sessions live for hours, so a hash or a turn-taking would keep an imbalance for
hours; counting keeps none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


def fewest(sessions: Mapping[int, int], usable: Iterable[int]) -> int | None:
    """Return the usable slot with the fewest sessions, the lowest among equals; ``None`` without one."""
    return min(usable, key=lambda slot: (sessions.get(slot, 0), slot), default=None)
