"""The committed dashboard: what the pool page promises, and what keeps it honest."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from grafana_foundation_sdk.models.dashboard import Dashboard

from bascule.configuration.config import Config
from bascule.telemetry.catalogue import CATALOGUE
from dashboards import hopsworks, panels, queries
from tests.support.parts import require

DOCUMENT = queries.read(hopsworks.JSON_FILE)
QUERIES = list(queries.queries(DOCUMENT))
PANELS = {panel["title"]: panel for panel in queries.panels(DOCUMENT)}

CONTRACT_TITLES = [
    "WebSocket - rejection rate",
    "WebSocket - duration (sliding window percentiles)",
    "WebSocket - sessions",
    "WebSocket - pool CPU",
    "WebSocket - pool allocation rate (GC pressure)",
]


def targets(title: str) -> dict[str, str]:
    return {target["legendFormat"]: target["expr"] for target in PANELS[title]["targets"]}


def overrides(title: str) -> dict[str, dict[str, Any]]:
    return {
        override["matcher"]["options"]: {item["id"]: item["value"] for item in override["properties"]}
        for override in PANELS[title]["fieldConfig"]["overrides"]
    }


def test_the_library_that_builds_it_reads_it_back_unchanged() -> None:
    from grafana_foundation_sdk.cog.encoder import JSONEncoder

    again = json.loads(json.dumps(Dashboard.from_json(dict(DOCUMENT)), cls=JSONEncoder))
    assert again == DOCUMENT


def test_title_and_folder_are_the_pool_pages() -> None:
    assert (DOCUMENT["title"], hopsworks.FOLDER) == ("Hopsworks", "Hops")


def test_the_five_panels_stand_at_the_bottom_in_the_pages_order() -> None:
    assert [panel["title"] for panel in queries.panels(DOCUMENT)][-5:] == CONTRACT_TITLES


def by_pod(expression: str) -> str:
    """Return an expression with the short name that the page describes, written out a second time."""
    return (
        f'label_replace(label_replace({expression},"pod_short","$1","pod_name","(.*)")'
        ',"pod_short","$1","pod_name","hopsworks-instance-(.*)")'
    )


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("WebSocket - rejection rate", {"rejections": "sum(rate(ws_connection_rejections_total[1m]))"}),
        (
            "WebSocket - duration (sliding window percentiles)",
            {
                "p50": 'max(ws_connection_duration_seconds{quantile="0.5"})',
                "p95": 'max(ws_connection_duration_seconds{quantile="0.95"})',
                "p99": 'max(ws_connection_duration_seconds{quantile="0.99"})',
            },
        ),
        (
            "WebSocket - sessions",
            {
                "{{pod_short}}": by_pod("ws_connection_in_flight_count"),
                "Pool max (per instance)": "max(ws_pool_max_connections)",
            },
        ),
        ("WebSocket - pool CPU", {"{{pod_short}}": by_pod("ws_pool_cpu_cores")}),
        (
            "WebSocket - pool allocation rate (GC pressure)",
            {"{{pod_short}}": by_pod("ws_pool_alloc_bytes_per_second")},
        ),
        (
            "Memory",
            {
                "Used heap {{pod_short}}": by_pod("bascule_memory_used_bytes"),
                "Max heap (-Xmx)": "min(bascule_memory_max_bytes)",
            },
        ),
        ("GC", {"{{pod_short}}": by_pod("sum by (pod_name) (rate(bascule_gc_seconds_total[1m]))")}),
    ],
)
def test_each_panel_that_the_page_names_shows_what_the_page_says(
    title: str, expected: dict[str, str]
) -> None:
    assert targets(title) == expected


def check_answer(expression: str, series: dict[str, float], expected: dict[str, float], home: Path) -> None:
    """Let Prometheus evaluate a query over series with these values; fail if it answers anything else."""
    test = {
        "input_series": [{"series": name, "values": str(value)} for name, value in series.items()],
        "promql_expr_test": [
            {
                "expr": expression,
                "eval_time": "0m",
                "exp_samples": [{"labels": name, "value": value} for name, value in expected.items()],
            }
        ],
    }
    file = home / "test.yaml"
    file.write_text(json.dumps({"tests": [test]}))  # JSON is YAML
    done = subprocess.run(
        [require("promtool"), "test", "rules", file], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.real
def test_pods_of_the_platform_are_shown_without_its_prefix_and_others_whole(tmp_path: Path) -> None:
    shown = {"hopsworks-instance-5f7d4-x2x7k": "5f7d4-x2x7k", "bascule-0": "bascule-0"}
    check_answer(
        targets("WebSocket - pool CPU")["{{pod_short}}"],
        {f'ws_pool_cpu_cores{{pod_name="{pod}"}}': 0.25 for pod in shown},
        {f'ws_pool_cpu_cores{{pod_name="{pod}",pod_short="{short}"}}': 0.25 for pod, short in shown.items()},
        tmp_path,
    )


@pytest.mark.real
@pytest.mark.parametrize("title", ["Cluster capacity", "Bascule - cluster capacity"])
@pytest.mark.parametrize(
    ("in_flight", "draining", "expected"),
    [
        pytest.param((400, 380), (1, 0), 0.76, id="one drains"),
        pytest.param((900, 200), (0, 0), 0.7, id="one is above a cap that was lowered"),
        pytest.param((400, 0), (1, 1), 1, id="all drain"),
    ],
)
def test_the_clusters_capacity_is_what_the_badge_judges(
    title: str,
    in_flight: tuple[int, int],
    draining: tuple[int, int],
    expected: float,
    tmp_path: Path,
) -> None:
    """With the figures of tests/admin/test_capacity.py and alerts/rules_test.yaml."""
    series: dict[str, float] = {
        f'{name}{{namespace="h",pod_name="{pod}"}}': value
        for name, values in (
            ("ws_connection_in_flight_count", in_flight),
            ("ws_pool_max_connections", (500, 500)),
            ("ws_draining", draining),
        )
        for pod, value in zip(("a", "b"), values, strict=True)
    }
    expression, *_ = targets(title).values()
    check_answer(expression, series, {"{}": expected}, tmp_path)


def test_sessions_are_solid_lines_and_the_cap_is_one_dashed_red_line() -> None:
    panel = PANELS["WebSocket - sessions"]
    assert panel["fieldConfig"]["defaults"]["custom"]["lineStyle"] == {"fill": "solid"}
    assert panel["fieldConfig"]["defaults"]["custom"]["drawStyle"] == "line"
    (name, drawing), *others = overrides("WebSocket - sessions").items()
    assert name == "Pool max (per instance)"
    assert not others
    assert drawing["custom.lineStyle"]["fill"] == "dash"
    assert drawing["color"] == {"mode": "fixed", "fixedColor": "red"}


def test_memory_has_the_two_lines_the_tuning_section_names() -> None:
    assert [legend.split(" {{")[0] for legend in targets("Memory")] == ["Used heap", "Max heap (-Xmx)"]
    assert overrides("Memory")["Max heap (-Xmx)"]["custom.lineStyle"]["fill"] == "dash"


@pytest.mark.parametrize("title", ["Memory", "GC"])
def test_the_panels_the_page_calls_above_are_above(title: str) -> None:
    assert PANELS[title]["gridPos"]["y"] < PANELS["WebSocket - rejection rate"]["gridPos"]["y"]


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: f"{query.panel['title']}-{query.ref_id}")
def test_every_query_is_promql(query: queries.PanelQuery) -> None:
    assert queries.metric_names(query.expression) or query.expression == "vector(1)"


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: f"{query.panel['title']}-{query.ref_id}")
def test_every_metric_is_in_the_catalogue(query: queries.PanelQuery) -> None:
    missing = queries.metric_names(query.expression) - catalogue_series()
    assert not missing


def catalogue_series() -> set[str]:
    """Every series name that `/metrics` can contain."""
    names = {metric.name for metric in CATALOGUE}
    return names | {name + suffix for name in names for suffix in queries.HISTOGRAM_SUFFIXES}


def test_legends_use_only_labels_that_the_query_leaves() -> None:
    for query in QUERIES:
        if "{{pod_short}}" in query.legend:
            assert query.expression.count("pod_short") == 2, query.expression


@pytest.mark.parametrize("panel", PANELS.values(), ids=PANELS.keys())
def test_every_panel_says_what_it_means_has_a_unit_and_starts_at_zero(panel: dict[str, Any]) -> None:
    assert len(panel["description"]) > 100
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["fieldConfig"]["defaults"]["min"] == 0


def test_six_numbers_at_the_top_say_whether_there_is_anything_to_look_for() -> None:
    first = list(queries.panels(DOCUMENT))[:6]
    assert {panel["type"] for panel in first} == {"stat"}
    assert {panel["gridPos"]["y"] for panel in first} == {1}
    steps = {panel["title"]: panel["fieldConfig"]["defaults"]["thresholds"]["steps"] for panel in first}
    full = [(step["value"], step["color"]) for step in steps["Cluster capacity"]]
    assert full == [(None, "green"), (Config().capacity.warning_share, "orange"), (1, "red")], (
        "the badges' colours"
    )


def test_panels_do_not_overlap() -> None:
    cells: set[tuple[int, int]] = set()
    for panel in DOCUMENT["panels"]:
        at = panel["gridPos"]
        own = {(at["x"] + dx, at["y"] + dy) for dx in range(at["w"]) for dy in range(at["h"])}
        assert not cells & own, panel["title"]
        assert at["x"] + at["w"] <= panels.FULL
        cells |= own


def test_one_namespace_can_be_chosen_without_a_change_to_the_pages_queries() -> None:
    # Where Prometheus scrapes several, the cluster's panels added them all up.
    variables = {variable["name"]: variable for variable in DOCUMENT["templating"]["list"]}
    assert list(variables) == ["datasource", "filter"]
    assert variables["filter"]["type"] == "adhoc"
    sources = {panel["datasource"]["uid"] for panel in PANELS.values()}
    assert sources == {variables["filter"]["datasource"]["uid"]}, "it would filter nothing"


def test_no_query_depends_on_a_variable_that_prometheus_does_not_know() -> None:
    assert not [query.expression for query in QUERIES if "$" in query.expression.replace('"$1"', "")]
