"""What is said of one metric, and what all of them have in common.

Rules of this file: no metric is named here; they are rows of `bascule.telemetry.catalogue`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

__all__ = ["QUANTILES", "SCOPE", "SCOPE_LABEL", "Metric", "MetricKind", "Unit"]

SCOPE_LABEL: Final = "mp_scope"
SCOPE: Final = "application"
"""The scope of MicroProfile Metrics that the contract names; on every series of ours."""

QUANTILES: Final = ("0.5", "0.75", "0.95", "0.98", "0.99", "0.999")
"""Quantile labels of the summary, to the letter: dashboards select on the text."""


class MetricKind(StrEnum):
    """Kinds of the Prometheus text format."""

    COUNTER = "counter"
    GAUGE = "gauge"
    SUMMARY = "summary"
    HISTOGRAM = "histogram"


class Unit(StrEnum):
    """Base units."""

    SECONDS = "seconds"
    BYTES = "bytes"
    SESSIONS = "sessions"
    CORES = "CPU cores"
    BYTES_PER_SECOND = "bytes per second"
    NONE = "-"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric.

    Attributes:
        name: As exposed.
        kind: Of the text format.
        unit: Base unit.
        help: The ``# HELP`` text: what is counted.
        reading: What an operator does with it; for the documentation.
        labels: Keys of `bascule.telemetry.labels.LABELS`, besides `mp_scope`.
        is_contract: Named by the WebSocket Proxy Pool page.
        part_of: The metric that this one completes; a filter by that name includes this one.
    """

    name: str
    kind: MetricKind
    unit: Unit
    help: str
    reading: str
    labels: tuple[str, ...] = ()
    is_contract: bool = False
    part_of: str | None = None
