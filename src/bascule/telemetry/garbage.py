"""How long Python's cycle collector keeps this process from working.

The `GC` panel of the contract shows the collector of the JVM. Ours collects cycles only;
everything else is freed at once by reference counting, and relaying makes no cycles, so
the line should lie at zero.

Rules of this file: the callback does no more than two clock readings and a store for each collection.
"""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, MutableSequence

__all__ = ["CollectorClock"]


class CollectorClock:
    """Add the time spent in the cycle collector to a counter.

    Args:
        clock: Nanoseconds, monotonic; such as ``time.perf_counter_ns``.
        words: The counters.
        word: The index of the one to add nanoseconds to.
    """

    __slots__ = ("_clock", "_started_at", "_word", "_words")

    def __init__(self, clock: Callable[[], int], words: MutableSequence[int] | memoryview, word: int) -> None:
        self._clock = clock
        self._words = words
        self._word = word
        self._started_at: int | None = None

    def install(self) -> None:
        """Begin to measure, for the life of the process."""
        gc.callbacks.append(self._observe)

    def _observe(self, phase: str, _info: dict[str, int]) -> None:
        if phase == "start":
            self._started_at = self._clock()
        elif self._started_at is not None:
            self._words[self._word] += self._clock() - self._started_at
            self._started_at = None
