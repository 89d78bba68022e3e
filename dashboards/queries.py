"""What a committed dashboard or rule file asks of Prometheus.

Read by the tests, by the drawing script and by nobody in production. Rules of this
file: it knows the JSON as Grafana stores it, not the library that built it.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import promql_parser

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_LABEL = re.compile(r"\{\{\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*\}\}")
_CHILDREN = ("args", "expr", "lhs", "rhs", "vector_selector", "param")
HISTOGRAM_SUFFIXES = ("_bucket", "_count", "_sum")


@dataclass(frozen=True, slots=True)
class PanelQuery:
    """One query of one panel.

    Attributes:
        panel: The panel's JSON.
        ref_id: Grafana's letter for the query.
        expression: PromQL, as committed.
        legend: The legend format.
    """

    panel: Mapping[str, Any]
    ref_id: str
    expression: str
    legend: str

    def name(self, labels: Mapping[str, str]) -> str:
        """Return what the legend calls a series with these labels."""
        return _LABEL.sub(lambda found: labels.get(found[1], ""), self.legend).strip()


def read(path: Path) -> dict[str, Any]:
    """Read a dashboard file."""
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return document


def panels(document: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield every panel that draws something, in the order of the file."""
    for panel in document["panels"]:
        if panel["type"] != "row":
            yield panel


def queries(document: Mapping[str, Any]) -> Iterator[PanelQuery]:
    """Yield every query of every panel."""
    for panel in panels(document):
        for target in panel["targets"]:
            yield PanelQuery(panel, target["refId"], target["expr"], target["legendFormat"])


def metric_names(expression: str) -> set[str]:
    """Return the names of the series that an expression selects.

    Raises:
        ValueError: It is not PromQL.
    """
    return {str(node.name) for node in _walk(promql_parser.parse(expression)) if _is_selector(node)}


def _is_selector(node: object) -> bool:
    return isinstance(node, promql_parser.VectorSelector)


def _walk(node: Any) -> Iterator[Any]:
    yield node
    for attribute in _CHILDREN:
        child = getattr(node, attribute, None)
        for item in child if isinstance(child, list) else [child]:
            if type(item).__module__ == promql_parser.VectorSelector.__module__:
                yield from _walk(item)
