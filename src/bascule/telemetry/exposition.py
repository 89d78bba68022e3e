"""`/metrics`: the catalogue's metrics in Prometheus text format 0.0.4.

The text is written by prometheus_client; this module only turns readings into its metric
families and answers as the MicroProfile Metrics 5.1 endpoint does: ``scope`` and ``name``
narrow the answer, an unknown one is 404, an `Accept` without ``text/plain`` is 406.

Rules of this file: no clock but the one given; no state; a client's text is repeated only
escaped and cut. OpenMetrics is not offered: its rules would rename the contract's metrics.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    SummaryMetricFamily,
)
from prometheus_client.core import Metric as Family
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from bascule.telemetry.acceptfield import accepts_plain_text
from bascule.telemetry.catalogue import CATALOGUE
from bascule.telemetry.metric import QUANTILES, SCOPE, SCOPE_LABEL, Metric, MetricKind
from bascule.telemetry.printable import printable
from bascule.telemetry.readings import HistogramReading, SummaryReading

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from bascule.telemetry.readings import Readers, Reading

__all__ = ["CONTENT_TYPE", "Answer", "Exposition"]

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

_TEXT: Final = "text/plain; charset=utf-8"
_ECHO_LIMIT: Final = 100
"""Characters of a bad parameter that are repeated in the answer."""


class Answer(NamedTuple):
    """Status, content type and body for the HTTP side to send."""

    status: int
    content_type: str
    body: bytes


class _FirstLabel(str):
    """A label name that sorts before every other.

    The library sorts labels by name. The order means nothing to Prometheus, but people who read
    the text look for the scope in front, where the contract's examples have it.
    """

    __slots__ = ()
    __hash__ = str.__hash__

    def __lt__(self, other: object) -> bool:
        return True

    def __gt__(self, other: object) -> bool:
        return False


_SCOPE_FIRST: Final = _FirstLabel(SCOPE_LABEL)


class _Scrape(Collector):
    """The families of one answer, in the form in which the library's writer wants them."""

    def __init__(self, families: Iterable[Family]) -> None:
        self._families = families

    def collect(self) -> Iterable[Family]:
        return self._families


class Exposition:
    """Answer `/metrics`.

    Args:
        readers: One reader for every metric of the catalogue, and none besides.
        clock: Monotonic seconds; read once for each answer and given to all readers.

    Raises:
        ValueError: The readers' names are not the catalogue's.
    """

    def __init__(self, readers: Readers, clock: Callable[[], float]) -> None:
        names = {metric.name for metric in CATALOGUE}
        if names != readers.keys():
            missing, unknown = sorted(names - readers.keys()), sorted(readers.keys() - names)
            raise ValueError(f"metrics without a reader: {missing}; readers without a metric: {unknown}")
        self._readers = readers
        self._clock = clock

    def answer(self, scope: str | None, name: str | None, accept: str | None) -> Answer:
        """Answer ``GET /metrics``.

        Args:
            scope: The query's parameter; ``None`` when it was not given.
            name: Likewise.
            accept: Value of the Accept field; ``None`` without one.

        Returns:
            200 with the metrics; 404 for a scope or a name that does not exist; 406 when plain text is
            not acceptable. The body of an error says what was wrong.
        """
        if not accepts_plain_text(accept):
            return _error(406, f"[{printable(accept or '', _ECHO_LIMIT)}] not acceptable")
        if scope is not None and scope != SCOPE:
            return _error(404, "Not available scope to consume")
        chosen = CATALOGUE if name is None else [m for m in CATALOGUE if name in (m.name, m.part_of)]
        if not chosen:
            return _error(404, f"[{printable(name or '', _ECHO_LIMIT)}] metric not found")
        now = self._clock()
        families = [_family(metric, self._readers[metric.name](now)) for metric in chosen]
        return Answer(200, CONTENT_TYPE, generate_latest(_Scrape(families)))


def _error(status: int, text: str) -> Answer:
    return Answer(status, _TEXT, f"{text}\n".encode())


def _family(metric: Metric, reading: Reading) -> Family:
    """Turn one reading into the library's family.

    Raises:
        TypeError: The reader gave a reading of another kind than the catalogue says.
    """
    labels = (_SCOPE_FIRST, *metric.labels)
    match metric.kind, reading:
        case MetricKind.SUMMARY, SummaryReading():
            summary = SummaryMetricFamily(metric.name, metric.help, labels=labels)
            for quantile in QUANTILES:
                where: dict[str, str] = {_SCOPE_FIRST: SCOPE, "quantile": quantile}
                summary.add_sample(metric.name, where, reading.quantile(float(quantile)))
            summary.add_metric([SCOPE], reading.count, reading.sum)
            return summary
        case MetricKind.HISTOGRAM, HistogramReading():
            histogram = HistogramMetricFamily(metric.name, metric.help, labels=labels)
            bounds = (*map(str, reading.bounds), "+Inf")
            buckets = list(zip(bounds, map(float, reading.cumulative), strict=True))
            histogram.add_metric([SCOPE], buckets, reading.sum)
            return histogram
        case ((MetricKind.COUNTER | MetricKind.GAUGE), [*series]):
            kind = CounterMetricFamily if metric.kind is MetricKind.COUNTER else GaugeMetricFamily
            family = kind(metric.name, metric.help, labels=labels)
            for values, number in series:
                family.add_metric([SCOPE, *values], number)
            return family
        case _:
            raise TypeError(f"{metric.name} is a {metric.kind}, its reader gave {type(reading).__name__}")
