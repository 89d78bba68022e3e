"""Durations of closed sessions: the reservoir for one pod, the histogram for all of them.

Percentiles of different pods cannot be added up or averaged; bucket counts can. So every
duration goes into both: `ws_connection_duration_seconds` (the contract's summary, whose
quantiles come from the reservoir) and `bascule_session_duration_seconds` (a histogram,
for ``histogram_quantile`` over the whole deployment). Count and sum of both are the histogram's.

The histogram is words of shared memory. The forwarder counts a session that ended; the gateway counts one
that was lost with its forwarder. A session that was lost while there was no gateway has no duration, and is
in neither. The reservoir belongs to the gateway: one that retires hands it over, and after one that died it
starts empty.

Rules of this file: pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from bascule.telemetry.histogram import Histogram

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bascule.telemetry.reservoir import Reservoir, Summary

__all__ = ["DURATIONS", "Durations"]

_MINUTE: Final = 60.0
_HOUR: Final = 3600.0

DURATIONS: Final = Histogram(
    1.0, 5.0, 15.0, _MINUTE, 5 * _MINUTE, 15 * _MINUTE, 30 * _MINUTE,
    _HOUR, 2 * _HOUR, 4 * _HOUR, 8 * _HOUR, 12 * _HOUR, 24 * _HOUR,
)  # fmt: skip
"""Below a second lie probes and failed starts; above a day detail is of no use."""


class Durations:
    """A sample of the closed sessions' durations.

    Args:
        reservoir: Owned by this object from now on.
    """

    __slots__ = ("_reservoir", "_summary", "_summary_at")

    def __init__(self, reservoir: Reservoir) -> None:
        self._reservoir = reservoir
        self._summary: Summary | None = None
        self._summary_at = 0.0

    def record(self, seconds: float, now: float) -> None:
        """Take in one closed session.

        Args:
            seconds: From admission to the end; below zero counts as zero.
            now: Monotonic time of the end.

        Raises:
            ValueError: The duration is not finite; nothing was recorded.
        """
        self._reservoir.update(max(0.0, seconds), now)
        self._summary = None

    def summary(self, now: float) -> Summary:
        """Summarise the reservoir; three metrics of one scrape share one sort."""
        if self._summary is None or self._summary_at != now:
            self._summary = self._reservoir.summarise(now)
            self._summary_at = now
        return self._summary

    def dump(self) -> dict[str, Any]:
        """Return the sample, for the next gateway: `Reservoir.dump`."""
        return self._reservoir.dump()

    def restore(self, dumped: Mapping[str, Any]) -> None:
        """Take over the former gateway's sample: `Reservoir.restore`."""
        self._reservoir.restore(dumped)
        self._summary = None
