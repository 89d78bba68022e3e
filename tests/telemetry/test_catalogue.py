"""The table of metrics obeys the contract and its own rules."""

from __future__ import annotations

import re

import pytest

from bascule.telemetry.catalogue import CATALOGUE, GROUPS
from bascule.telemetry.labels import LABELS
from bascule.telemetry.metric import QUANTILES, Metric, MetricKind
from tests.support.contract import CONTRACT

OURS = [metric for metric in CATALOGUE if not metric.is_contract]


def test_the_contract_is_kept_to_the_letter() -> None:
    found = {
        metric.name: str(metric.kind) for metric in CATALOGUE if metric.is_contract and metric.part_of is None
    }
    assert found == CONTRACT


def test_the_contract_metrics_have_no_labels_of_ours() -> None:
    assert not any(metric.labels for metric in CATALOGUE if metric.is_contract)


def test_the_dashboards_quantiles_are_there_to_the_letter() -> None:
    assert {"0.5", "0.95", "0.99"} <= set(QUANTILES)


def test_what_a_label_may_say_is_in_lower_case() -> None:
    said = [value for label in LABELS.values() for value in label.values]
    assert [value for value in said if not re.fullmatch("[a-z0-9_-]+", value)] == []
    assert {"text", "ping"} <= set(LABELS["opcode"].values)


def test_names_are_unique_and_grouped_completely() -> None:
    assert len({metric.name for metric in CATALOGUE}) == len(CATALOGUE)
    assert tuple(metric for _, metrics in GROUPS for metric in metrics) == CATALOGUE


@pytest.mark.parametrize("metric", OURS, ids=lambda metric: metric.name)
def test_what_we_add_follows_the_naming_rules(metric: Metric) -> None:
    assert re.fullmatch(r"bascule_[a-z_]+|ws_draining", metric.name)
    assert metric.name.endswith("_total") == (metric.kind is MetricKind.COUNTER)
    assert not metric.name.endswith(("_count", "_sum", "_bucket"))


@pytest.mark.parametrize("metric", CATALOGUE, ids=lambda metric: metric.name)
def test_every_metric_is_explained_in_one_line_each(metric: Metric) -> None:
    assert metric.help.endswith(".")
    assert metric.reading.endswith((".", ")."))
    assert "\n" not in metric.help + metric.reading


def test_every_label_is_explained_and_used() -> None:
    assert {label for metric in CATALOGUE for label in metric.labels} == set(LABELS)


def test_only_labels_that_we_choose_ourselves_are_open() -> None:
    assert {name for name, label in LABELS.items() if not label.values} == {
        "forwarder",
        "gateway",
        "route",
        "version",
    }
