"""Readers for every metric of the catalogue, with small made-up values."""

from __future__ import annotations

import math
from itertools import product

from bascule.telemetry.catalogue import CATALOGUE
from bascule.telemetry.labels import LABELS
from bascule.telemetry.metric import Metric, MetricKind
from bascule.telemetry.readings import HistogramReading, Reader, SummaryReading

__all__ = ["readers"]


def readers(**replaced: Reader) -> dict[str, Reader]:
    """Return a reader for each metric: 3 for every series, an empty reservoir, two durations."""
    return {metric.name: _reader(metric) for metric in CATALOGUE} | replaced


def _reader(metric: Metric) -> Reader:
    if metric.kind is MetricKind.SUMMARY:
        return lambda _: SummaryReading(17, 1034.2, lambda p: math.nan)
    if metric.kind is MetricKind.HISTOGRAM:
        return lambda _: HistogramReading((1.0, 60.0), (1, 1, 2), 99.5)
    values = [LABELS[label].values or ("0",) for label in metric.labels]
    series = [(labels, 3) for labels in product(*values)]
    return lambda _: series
