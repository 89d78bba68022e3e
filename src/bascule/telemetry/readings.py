"""What the exposition reads: one reader for each metric of the catalogue, and the types of readings.

The counters live in shared memory, which this layer may not know, the sessions in the gateway,
the CPU times in `/proc`. The process that exposes metrics gives one function per metric
name (`bascule.gateway.metrics` in the proxy, a plain dictionary in a test), and the exposition
refuses to start unless the names are exactly the catalogue's.

Rules of this file: types only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

__all__ = ["HistogramReading", "Reader", "Readers", "Reading", "Series", "SummaryReading"]

Series: TypeAlias = Sequence[tuple[tuple[str, ...], float]]
"""Values of a counter or gauge: label values in the catalogue's order, and the number."""


@dataclass(frozen=True, slots=True)
class SummaryReading:
    """Values of a summary.

    Attributes:
        count: Observations ever made.
        sum: Their sum.
        quantile: Gives the value at a share of the weight; may answer NaN.
    """

    count: int
    sum: float
    quantile: Callable[[float], float]


@dataclass(frozen=True, slots=True)
class HistogramReading:
    """Values of a histogram.

    Attributes:
        bounds: Upper bounds of the buckets, rising, without infinity.
        cumulative: Observations up to each bound, then all of them: one more than `bounds`.
        sum: Sum of the observations.
    """

    bounds: tuple[float, ...]
    cumulative: tuple[int, ...]
    sum: float


Reading: TypeAlias = Series | SummaryReading | HistogramReading

Reader: TypeAlias = Callable[[float], Reading]
"""Reads one metric at a monotonic time. All readers of one scrape get the same time."""

Readers: TypeAlias = Mapping[str, Reader]
"""A reader by metric name."""
