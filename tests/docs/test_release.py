"""The life of a release as the pages tell it: installed, given a larger cap, upgraded, gone back.

Every command is typed as it stands there, with either Helm, before an API server that refuses what a real
one would; so is what the chart's notes tell who has just installed it.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.chart.rendering import HELMS, helm
from tests.docs.claims import claimed
from tests.docs.oncall import Operator, operator_of_a_cluster
from tests.support.bascule import run_bascule
from tests.support.kube.pod import Pod
from tests.support.pages import fenced
from tests.support.waiting import eventually

pytestmark = pytest.mark.real

PAGES = ("README", "helm", "tune-the-cap", "drain-and-upgrade")
"""In the order in which somebody needs them."""

NAMESPACE = "/namespaces/hopsworks"


@pytest.fixture(params=HELMS)
def operator(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Operator]:
    helm(request.param)
    with operator_of_a_cluster(tmp_path, request.param) as somebody:
        values = fenced("docs/howto/helm.md", "yaml")
        assert values.startswith("# my-values.yaml\n")
        (tmp_path / "project/my-values.yaml").write_text(values)
        yield somebody


def write_cap(home: Path, value: int) -> None:
    """Write another cap into the operator's file of values."""
    file = home / "project/my-values.yaml"
    text, changed = re.subn(r"(maxSessionsPerApp:) \d+", rf"\1 {value}", file.read_text())
    assert changed == 1
    file.write_text(text)


def cap(operator: Operator) -> int:
    """Return the cap that the pods are given."""
    maps = operator.cluster.store.below(f"/api/v1{NAMESPACE}/configmaps")
    text = next(one["data"]["config.yaml"] for one in maps if "config.yaml" in one["data"])
    found = re.search(r"maxSessionsPerApp: (\d+)", text)
    assert found
    return int(found[1])


def test_the_pages_take_a_release_from_its_first_day_to_a_rollback(
    operator: Operator, tmp_path: Path
) -> None:
    todo = sorted(claimed(__name__), key=lambda command: PAGES.index(Path(command.page).stem))
    seen: list[tuple[str, int]] = []
    for command in todo:
        page = Path(command.page).stem
        if page == "tune-the-cap":
            write_cap(tmp_path, 1000)
        elif " rollback " not in command.text and page == "drain-and-upgrade":
            write_cap(tmp_path, 750)
        said = operator.terminal.run(command.text)
        if "rollout status" in command.text:
            assert "successfully rolled out" in said
        if command.text.startswith("helm"):
            seen.append((page, cap(operator)))
    secret = operator.cluster.store.get(f"/api/v1{NAMESPACE}/secrets/bascule-admin")
    assert secret is not None
    assert len(secret["data"]["token"]) == 88, "64 hexadecimal digits in base64"
    # Installed, and told again; raised; upgraded; and back.
    assert seen == [
        ("README", 500),
        ("helm", 500),
        ("tune-the-cap", 1000),
        ("drain-and-upgrade", 750),
        ("drain-and-upgrade", 1000),
    ]


@pytest.mark.parametrize("operator", ["v4"], indirect=True)
def test_the_notes_of_the_chart_tell_what_works(operator: Operator, tmp_path: Path) -> None:
    install = next(command for command in claimed(__name__) if "--install" in command.text)
    notes = operator.terminal.run(install.text)
    told = [line.strip() for line in notes.splitlines() if re.match(r"  (kubectl|helm|curl) ", line)]
    assert len(told) == 4
    home = tmp_path / "pod"
    home.mkdir()
    routes = [{"name": "lab", "path": "/", "upstream": "http://127.0.0.1:9"}]
    with run_bascule(home, {"admin": "127.0.0.1:9081", "routes": routes}) as proxy:
        show_a_pod(operator, Pod(proxy.process.log, {8081: ("127.0.0.1", 9081)}))
        write_cap(tmp_path, 1000)
        for line in told:
            operator.terminal.run(line.replace("CHART", "charts/bascule").replace("FILE", "my-values.yaml"))
            if line.endswith("&"):
                eventually(lambda: operator.terminal.type("curl -s 127.0.0.1:8081").status == 0, 20, line)
    assert cap(operator) == 1000


def show_a_pod(operator: Operator, pod: Pod) -> None:
    """Say that a pod of the Deployment runs."""
    deployments: list[dict[str, Any]] = operator.cluster.store.below(f"/apis/apps/v1{NAMESPACE}/deployments")
    template = deployments[0]["spec"]["template"]
    metadata = {**template["metadata"], "name": "hopsworks-instance-1", "namespace": "hopsworks"}
    body = {"kind": "Pod", "apiVersion": "v1", "metadata": metadata, "spec": template["spec"]}
    operator.cluster.add(
        f"/api/v1{NAMESPACE}/pods/hopsworks-instance-1", {**body, "status": {"phase": "Running"}}
    )
    operator.cluster.pods["hopsworks/hopsworks-instance-1"] = pod
