"""Histograms in words of shared memory: counts by bucket, which add up over processes and pods.

Rules of this file: pure; `Histogram.count` is the only way in.
"""

from __future__ import annotations

from bisect import bisect_left
from itertools import accumulate
from typing import TYPE_CHECKING

from bascule.telemetry.readings import HistogramReading

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Histogram"]


class Histogram:
    """The shape of a histogram of times; its numbers are kept by whoever counts.

    Args:
        bounds: Upper bounds of its buckets in seconds, rising, without infinity.

    Attributes:
        bounds: The same.
        words: How many numbers it needs: one for each bucket, one for longer times, the sum in microseconds.
    """

    __slots__ = ("bounds", "words")

    def __init__(self, *bounds: float) -> None:
        self.bounds = bounds
        self.words = len(bounds) + 2

    def count(self, words: memoryview | list[int], seconds: float) -> None:
        """Count one time; below zero counts as zero."""
        seconds = max(0.0, seconds)
        words[bisect_left(self.bounds, seconds)] += 1
        words[-1] += int(seconds * 1e6)

    def reading(self, words: Sequence[int]) -> HistogramReading:
        """Return the cumulative counts of its numbers, which may be those of several processes added up."""
        *counts, microseconds = words
        return HistogramReading(self.bounds, tuple(accumulate(counts)), microseconds / 1e6)
