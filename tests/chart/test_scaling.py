"""How many pods there are, and who says so."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart.cluster import cluster
from tests.chart.rendering import (
    CASES,
    CHART,
    one,
    render,
    run,
)

pytestmark = pytest.mark.real


def test_a_deployment_that_scales_itself_names_no_replicas() -> None:
    assert "replicas" not in one(render("v4", CASES["everything"]), "Deployment")["spec"]
    assert one(render("v4", {}), "Deployment")["spec"]["replicas"] == 2


def owner(operation: str, subresource: str = "", manager: str = "helm", **fields: Any) -> dict[str, Any]:
    """An entry of the API server's notes on who has set what."""
    owned = {f"f:{field}": value for field, value in fields.items()}
    return {"manager": manager, "operation": operation, "subresource": subresource, "fieldsV1": owned}


NAME: dict[str, Any] = {"f:annotations": {"f:meta.helm.sh/release-name": {}}}


NUMBER: dict[str, Any] = {"f:replicas": {}}


SCALED = owner("Update", "scale", "kube-controller-manager", spec=NUMBER)


STATUS = owner("Update", "status", "helm", status={})


LABELLED = owner("Apply", manager="somebody", metadata={"f:labels": {}})


MERGED = owner("Update", metadata={"f:annotations": {"f:bascule/replicas": {}}})


@pytest.mark.parametrize(
    ("given", "owners", "replicas"),
    [
        (True, [], {"v3": 7, "v4": 7}),
        (True, [owner("Apply", metadata=NAME, spec=NUMBER)], {"v3": 7, "v4": 7}),
        # Who patches takes back what the last manifest had, whoever else has set it.
        (True, [owner("Update", metadata=NAME, spec=NUMBER), SCALED], {"v3": 7, "v4": 7}),
        (True, [owner("Update", metadata=NAME), SCALED, LABELLED], {"v3": 7, "v4": 7}),
        (True, [owner("Apply", metadata=NAME), SCALED, MERGED], {"v3": 7, "v4": 7}),
        (True, [MERGED, owner("Apply", metadata=NAME), SCALED], {"v3": 7, "v4": 7}),
        # The server leaves a field alone that is somebody else's, and one that is also somebody else's.
        (True, [owner("Apply", metadata=NAME), SCALED, STATUS], {"v3": 7, "v4": None}),
        (True, [owner("Apply", metadata=NAME, spec=NUMBER), SCALED], {"v3": 7, "v4": None}),
        (False, [owner("Apply", metadata=NAME), SCALED], {"v3": None, "v4": None}),
    ],
)
def test_switching_autoscaling_on_leaves_the_number_of_pods_alone(
    version: str, given: bool, owners: list[dict[str, Any]], replicas: dict[str, int | None], tmp_path: Path
) -> None:
    # Helm takes a field back that its last manifest had, and no number means one pod.
    live = one(render(version, {} if given else {"autoscaling": {"enabled": True}}), "Deployment")
    live["spec"]["replicas"] = 7
    marked = live["metadata"].setdefault("annotations", {})
    # Helm writes these by itself when it installs.
    helms = {"meta.helm.sh/release-name": "ws", "meta.helm.sh/release-namespace": "hopsworks"}
    live["metadata"] |= {"annotations": marked | helms, "managedFields": owners}
    path = "/apis/apps/v1/namespaces/hopsworks/deployments/ws-bascule"
    with cluster({path: live}, tmp_path) as kubeconfig:
        done = run(
            version,
            *("template", "ws", str(CHART), "--namespace=hopsworks", "--dry-run=server"),
            *("--show-only=templates/deployment.yaml", "--disable-openapi-validation"),
            f"--kubeconfig={kubeconfig}",
            values="autoscaling: {enabled: true}",
        )
    assert done.returncode == 0, done.stderr
    deployment = yaml.safe_load(done.stdout)
    assert deployment["spec"].get("replicas") == replicas[version]
    # The next upgrade must find what this one found.
    assert deployment["metadata"].get("annotations", {}) == (marked if replicas[version] else {})


def test_scaling_is_on_sessions_and_down_slowly() -> None:
    spec = one(render("v4", CASES["everything"]), "HorizontalPodAutoscaler")["spec"]
    pods = spec["metrics"][0]["pods"]
    assert pods["metric"]["name"] == "ws_connection_in_flight_count"
    assert pods["target"] == {"type": "AverageValue", "averageValue": "350"}
    down = spec["behavior"]["scaleDown"]
    assert down["stabilizationWindowSeconds"] == 1800
    assert down["policies"] == [{"type": "Pods", "value": 1, "periodSeconds": 600}]
