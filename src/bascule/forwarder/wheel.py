"""A timer wheel: many deadlines, few wake-ups, nothing per timer but an integer in a list.

Deadlines are rounded up to slots of ``resolution`` seconds, so a timer is late by
less than one slot and never early. Timers are not cancelled: `Wheel.expire` returns
identifiers, and the owner checks whether each still has something due.
"""

from __future__ import annotations

import heapq
import math

__all__ = ["Wheel"]


class Wheel:
    """Deadlines by slot.

    Args:
        resolution: Width of a slot, in seconds.
    """

    def __init__(self, resolution: float) -> None:
        self.resolution = resolution
        self._slots: dict[int, list[int]] = {}
        self._order: list[int] = []

    def schedule(self, identifier: int, at: float) -> None:
        """Make an identifier due at a monotonic time, in seconds."""
        slot = math.ceil(at / self.resolution)
        waiting = self._slots.get(slot)
        if waiting is None:
            self._slots[slot] = [identifier]
            heapq.heappush(self._order, slot)
        else:
            waiting.append(identifier)

    @property
    def next_at(self) -> float:
        """When `expire` next has something to return; infinity when nothing is scheduled."""
        return self._order[0] * self.resolution if self._order else math.inf

    def expire(self, now: float) -> list[int]:
        """Remove and return the identifiers that are due."""
        due: list[int] = []
        while self._order and self._order[0] * self.resolution <= now:
            due += self._slots.pop(heapq.heappop(self._order))
        return due
