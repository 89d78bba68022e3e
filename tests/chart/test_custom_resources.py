"""Custom resources of the chart: through typed models and back, and run where they can run."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from dashboards import queries
from tests.chart.definitions import KINDS, model
from tests.chart.rendering import CASES, HELMS, ROOT, Manifest, one, render
from tests.support.parts import require

pytestmark = pytest.mark.real

ELSEWHERE = {"HTTPRoute": "a gateway", "ScaledObject": "keda", "PodMonitor": "a pod monitor"}


def resource(kind: str) -> Manifest:
    return one(render("v4", CASES[ELSEWHERE.get(kind, "everything")]), kind)


@pytest.mark.parametrize("kind", KINDS)
def test_the_typed_model_gives_back_what_it_was_given(kind: str) -> None:
    manifest = resource(kind)
    again = model(kind).model_validate(manifest).model_dump(mode="json", by_alias=True, exclude_unset=True)
    assert again == manifest


def test_the_round_trip_finds_a_misspelt_field() -> None:
    manifest = resource("ServiceMonitor")
    manifest["spec"]["endpoints"][0]["intervall"] = "15s"
    again = (
        model("ServiceMonitor")
        .model_validate(manifest)
        .model_dump(mode="json", by_alias=True, exclude_unset=True)
    )
    assert again != manifest


def test_the_rules_are_the_committed_ones_with_the_runbooks_address(tmp_path: Path) -> None:
    manifest = resource("PrometheusRule")
    text = (ROOT / "alerts" / "rules.yaml").read_text(encoding="utf-8")
    expected = yaml.safe_load(
        text.replace("https://bascule.example/docs/runbooks", "https://docs.example/runbooks")
    )
    assert manifest["spec"] == expected
    rules = tmp_path / "rules.yaml"
    rules.write_text(yaml.safe_dump(manifest["spec"]), encoding="utf-8")
    done = subprocess.run(
        [str(require("promtool")), "check", "rules", str(rules)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("version", HELMS)
def test_alerts_are_labelled_for_their_readers_and_left_out_by_name(version: str, tmp_path: Path) -> None:
    wanted = {"team": "data", "severity": "page", "summary": "{{ $labels.namespace }}"}
    values = {
        "enabled": True,
        "alertLabels": wanted,
        "disabled": ["BasculeRouteFull", "WebSocketClusterFull"],
    }

    def rules(of: Manifest) -> dict[str, dict[str, Any]]:
        return {
            rule.get("alert") or rule["record"]: rule
            for group in of["spec"]["groups"]
            for rule in group["rules"]
        }

    plain = rules(one(render(version, {"prometheusRule": {"enabled": True}}), "PrometheusRule"))
    changed = one(render(version, {"prometheusRule": values}), "PrometheusRule")
    found = rules(changed)
    assert plain.keys() - found.keys() == {"BasculeRouteFull", "WebSocketClusterFull"}
    for name, rule in found.items():
        labels = {"labels": wanted} if "alert" in rule else {}
        assert rule == {**plain[name], **labels}
    path = tmp_path / "rules.yaml"
    path.write_text(yaml.safe_dump(changed["spec"]), encoding="utf-8")
    done = subprocess.run(
        [str(require("promtool")), "check", "rules", str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_both_monitors_give_the_labels_that_the_dashboard_reads() -> None:
    for kind, key in (("ServiceMonitor", "endpoints"), ("PodMonitor", "podMetricsEndpoints")):
        (endpoint,) = resource(kind)["spec"][key]
        targets = {rule["targetLabel"] for rule in endpoint["relabelings"]}
        assert targets >= {"pod_name", "namespace", "node"}
        assert endpoint["path"] == "/metrics"


def test_the_dashboard_is_the_committed_one_in_the_folder_hops() -> None:
    manifest = one(render("v4", CASES["everything"]), "ConfigMap", "-dashboard")
    assert manifest["metadata"]["annotations"] == {"grafana_folder": "Hops"}
    assert manifest["metadata"]["labels"]["grafana_dashboard"] == "1"
    (text,) = manifest["data"].values()
    assert text == (ROOT / "dashboards" / "hopsworks.json").read_text(encoding="utf-8")


def test_keda_asks_for_sessions_of_this_release_and_scales_down_slowly() -> None:
    spec = resource("ScaledObject")["spec"]
    (trigger,) = spec["triggers"]
    assert queries.metric_names(trigger["metadata"]["query"]) == {"ws_connection_in_flight_count"}
    (pods,) = re.findall(r'pod_name=~"([^"]*)"', trigger["metadata"]["query"])
    assert re.fullmatch(pods, "ws-bascule-7d9f8c6b5-x2x7k")
    # Another release's, whose name goes on where ours ends.
    assert not re.fullmatch(pods, "ws-bascule-two-7d9f8c6b5-x2x7k")
    assert trigger["metadata"]["threshold"] == "350"
    behavior = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    assert behavior["scaleDown"]["stabilizationWindowSeconds"] == 1800
