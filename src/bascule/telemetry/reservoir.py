"""A sample of closed sessions in which the past fades: forward decay by priority sampling.

The idea in five lines. We want percentiles of *recent* session durations in fixed
memory, at any rate of closes. Give every value a weight that grows with the time it
arrives at, ``w = exp(alpha * (t - landmark))``. Draw ``u`` from (0, 1], call ``w / u`` its
priority and keep the ``capacity`` values of highest priority. New values weigh more, so
they push old ones out; nothing ever has to be aged, because only ratios of weights
matter. That is *forward* decay: looking forward from a fixed landmark instead of
backward from a moving now.

Sources: G. Cormode, V. Shkapenyuk, D. Srivastava, B. Xu, "Forward Decay: A Practical Time
Decay Model for Streaming Systems", ICDE 2009, for the decay; N. Duffield, C. Lund,
M. Thorup, "Priority Sampling for Estimation of Arbitrary Subset Sums", J. ACM 54(6), 2007,
for what a kept value stands for (below).

Alpha is a half-life. Of two values that arrived ``h`` seconds apart, the older one weighs
``exp(-alpha * h)`` of the newer one: one half when ``alpha = ln 2 / h``. We take the
half-life in seconds as the parameter and compute alpha from it: 300 s gives 0.00231 per
second. Beware of the constant that most implementations ship, alpha = 0.015 per second,
described as "biased to the past five minutes": its half-life is ln 2 / 0.015 = 46.2 s. Five
minutes is where its weights have fallen to 1.1 %. An operator who is promised a five-minute
half-life and given 0.015 sees percentiles that forget 6.5 times as fast as he thinks.

What a kept value stands for. As long as everything fits, its weight. Once values have been
dropped, a light one that survived also stands for its equals that did not. Duffield, Lund
and Thorup show that ``max(w, tau)``, where ``tau`` is the highest priority ever dropped, makes
every weighted sum unbiased. Implementations that go on using ``w`` count the decay twice,
once when the value is drawn and once when it is weighed: on a busy pod their half-life is
half of what they say. (Test: two crowds one half-life apart must come out 1 : 2.)

Why rescaling. Weights grow without limit: ``exp`` overflows a double at 709, which alpha 0.015
reaches in 13 hours. We keep logarithms, where ``w / u`` is ``alpha * (t - landmark) - ln u``, so
nothing can overflow or underflow, but a sum that grows loses the low bits of ``ln u``,
which decide who stays. So the landmark moves up when the exponent passes `RESCALE_ABOVE`, and
every stored logarithm shrinks by the same amount. All weights change by one common
factor: no quantile moves beyond rounding.

When nothing is recent. Decay is relative: while no session closes, all weights fade together and
the percentiles stand still, however old. MicroProfile Metrics 5.1 asks for NaN when there are no
data from the last 5-10 minutes, so after `recent_window` seconds without an update every
value of the summary is NaN.

Memory bound: ``capacity`` tuples of three floats and an int; with 1028 about 200 KiB, whatever
the traffic. 1028 values give the median within about 3 % of rank at 95 %
confidence. Time: an update is one logarithm and one heap replacement, a summary one sort.

Rules of this file: pure. Time and randomness come in as arguments; no clock, no lock, no I/O.
One thread owns a reservoir. Count and sum of all sessions are *not* here: they never
decay, and come from the shared counters, which outlive the process.
"""

from __future__ import annotations

import heapq
import math
from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["CAPACITY", "EMPTY", "RESCALE_ABOVE", "Reservoir", "Summary"]

CAPACITY: Final = 1028
"""Values held. The customary size: 99.9 % confidence with 5 % error for a normal distribution."""

RESCALE_ABOVE: Final = 64.0
"""Largest exponent before the landmark moves: 92 half-lives, eight hours of the default.

At 64 neighbouring doubles are 1.4e-14 apart, far below anything that decides between two priorities.
"""

_SMALLEST_DRAW: Final = 2.0**-53
"""Stands for a draw of zero, whose logarithm does not exist; the smallest step of the usual source."""


@dataclass(frozen=True, slots=True)
class Summary:
    """The reservoir at one moment. Everything is NaN when nothing is recent.

    Attributes:
        max: Largest value held.
        mean: Weighted mean.
    """

    max: float
    mean: float
    _values: tuple[float, ...] = ()
    _starts: tuple[float, ...] = ()

    def quantile(self, p: float) -> float:
        """Return the value below which a share `p` of the weight lies.

        The value is always one that was measured: steps, no interpolation, because between a
        session of a second and one of a day there is nothing worth inventing.

        Args:
            p: From 0 to 1. 0 gives the smallest value held, 1 the largest.

        Raises:
            ValueError: `p` is outside 0..1.
        """
        if not 0.0 <= p <= 1.0:
            raise ValueError(f"a quantile lies between 0 and 1, not at {p}")
        if not self._values:
            return math.nan
        return self._values[bisect_right(self._starts, p) - 1]  # the first starts at 0


EMPTY: Final = Summary(math.nan, math.nan)
"""The summary of a reservoir that saw no value recently, or never."""


class Reservoir:
    """Keep `capacity` values, the recent ones most probably.

    Args:
        half_life: Seconds after which a value weighs half of a new one.
        recent_window: Seconds without an update after which a summary is NaN.
        capacity: Most values held.
        random: Source of uniform draws from [0, 1), such as ``random.random``.

    Raises:
        ValueError: A half-life, window or capacity that is not positive and finite.
    """

    __slots__ = (
        "_alpha", "_arrivals", "_capacity", "_heap", "_landmark", "_newest_at", "_random", "_recent_window",
        "_threshold",
    )  # fmt: skip

    def __init__(
        self, half_life: float, recent_window: float, *, random: Callable[[], float], capacity: int = CAPACITY
    ) -> None:
        if not (0.0 < half_life < math.inf and recent_window > 0.0 and capacity >= 1):
            raise ValueError(f"half-life {half_life} s, window {recent_window} s, capacity {capacity}")
        self._alpha = math.log(2.0) / half_life
        self._recent_window = recent_window
        self._capacity = capacity
        self._random = random
        # (ln priority, arrival, ln weight, value). A heap, not a map by priority: values of equal priority
        # lie side by side and never overwrite each other. The arrival decides between them.
        self._heap: list[tuple[float, int, float, float]] = []
        self._arrivals = 0
        self._landmark = math.nan
        self._newest_at = -math.inf
        # ln tau: the highest priority ever dropped.
        self._threshold = -math.inf

    def __len__(self) -> int:
        return len(self._heap)

    def update(self, value: float, now: float) -> None:
        """Offer a value that was measured at `now`, in monotonic seconds.

        Raises:
            ValueError: The value or the time is not finite; nothing was changed.
        """
        if not (math.isfinite(value) and math.isfinite(now)):
            raise ValueError(f"cannot hold {value} at {now}")
        if not self._arrivals:
            self._landmark = now
        if self._alpha * (now - self._landmark) > RESCALE_ABOVE:
            self.rescale(now)
        self._arrivals += 1
        self._newest_at = max(self._newest_at, now)
        log_weight = self._alpha * (now - self._landmark)
        # [0, 1) turned round is (0, 1]; the guard is for a source that may also return 1.
        draw = max(1.0 - self._random(), _SMALLEST_DRAW)
        entry = (log_weight - math.log(draw), self._arrivals, log_weight, value)
        if len(self._heap) < self._capacity:
            heapq.heappush(self._heap, entry)
        else:
            dropped = heapq.heappushpop(self._heap, entry)
            self._threshold = max(self._threshold, dropped[0])

    def rescale(self, landmark: float) -> None:
        """Move the landmark; every weight changes by the same factor.

        `update` calls this in time. Calling it more often is harmless.
        """
        if not self._arrivals:
            return
        shift = self._alpha * (landmark - self._landmark)
        self._landmark = landmark
        self._threshold -= shift
        self._heap = [
            (priority - shift, arrival, weight - shift, value)
            for priority, arrival, weight, value in self._heap
        ]
        # Rounding can make two priorities equal, and then their arrivals decide: restore the heap's order.
        heapq.heapify(self._heap)

    def dump(self) -> dict[str, Any]:
        """Return all that it holds, for another process of this machine: the monotonic clock is the same."""
        return {
            "alpha": self._alpha,
            "landmark": self._landmark,
            "newest": self._newest_at,
            "threshold": self._threshold,
            "arrivals": self._arrivals,
            "held": self._heap,
        }

    def restore(self, dumped: Mapping[str, Any]) -> None:
        """Replace all values by another reservoir's; ignore them if its half-life or size does not fit.

        Args:
            dumped: What `dump` returned, also after JSON.
        """
        if dumped["alpha"] != self._alpha or len(dumped["held"]) > self._capacity:
            return
        self._landmark = dumped["landmark"]
        self._newest_at = dumped["newest"]
        self._threshold = dumped["threshold"]
        self._arrivals = dumped["arrivals"]
        self._heap = [
            (priority, arrival, weight, value) for priority, arrival, weight, value in dumped["held"]
        ]

    def summarise(self, now: float) -> Summary:
        """Describe what is held at `now`, in monotonic seconds; changes nothing."""
        if not self._heap or now - self._newest_at >= self._recent_window:
            return EMPTY
        threshold = self._threshold
        rows = sorted((value, max(weight, threshold)) for _, _, weight, value in self._heap)
        # Weights relative to the heaviest lie in 0..1 and one of them is 1: no overflow, no zero sum.
        heaviest = max(weight for _, weight in rows)
        weights = [math.exp(weight - heaviest) for _, weight in rows]
        total = math.fsum(weights)
        values = tuple(value for value, _ in rows)
        return Summary(
            max=values[-1],
            mean=math.fsum(value * weight for value, weight in zip(values, weights, strict=True)) / total,
            _values=values,
            _starts=tuple(before / total for before in accumulate(weights[:-1], initial=0.0)),
        )
