"""What holds of every manifest that the chart renders, by real Helm 3 and 4 and Kubernetes's schemas."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from bascule.cli import cli
from bascule.configuration.loading import load
from tests.chart.apiserver import refusals
from tests.chart.rendering import (
    CASES,
    CHART,
    Manifest,
    configuration,
    container,
    one,
    pod,
    render,
    run,
)
from tests.support import yamlfast
from tests.support.kube.schemas import ValidationError, must_fit

pytestmark = pytest.mark.real


VERSIONS = ("1.27", "1.29", "1.31", "1.33", "1.35", "1.37")


OURS = {"gateway.networking.k8s.io/v1", "monitoring.coreos.com/v1", "keda.sh/v1alpha1"}


def test_lint_is_strictly_clean(version: str, values: dict[str, Any]) -> None:
    done = run(version, "lint", "--strict", str(CHART), values=yaml.safe_dump(values))
    assert done.returncode == 0, done.stdout + done.stderr


def test_both_helms_render_the_same(values: dict[str, Any]) -> None:
    def by_name(version: str) -> list[Manifest]:
        manifests = render(version, values)
        # Which of them has given the number is for them to know.
        given = one(manifests, "Deployment")["metadata"].pop("annotations", None)
        assert given in (None, {"bascule/replicas": f"given-by-{version}"})
        return sorted(manifests, key=lambda manifest: (manifest["kind"], manifest["metadata"]["name"]))

    assert by_name("v3") == by_name("v4")


@pytest.mark.parametrize("kubernetes", VERSIONS)
def test_every_manifest_is_valid_strictly(values: dict[str, Any], kubernetes: str) -> None:
    for manifest in render("v4", values, f"{kubernetes}.0"):
        if manifest["apiVersion"] not in OURS:
            must_fit(manifest, kubernetes)


def test_an_api_server_refuses_no_value(values: dict[str, Any]) -> None:
    assert not [why for manifest in render("v4", values) for why in refusals(manifest)]


@pytest.mark.parametrize("release", ["123", "2026.11", "1e3", "on", "a.b", "x" * 53])
def test_an_api_server_refuses_no_release_name_that_helm_takes(version: str, release: str) -> None:
    done = run(version, "template", release, str(CHART), "--namespace", "123", values="replicaCount: 1")
    assert done.returncode == 0, done.stderr
    manifests = yamlfast.load_all(done.stdout)
    assert not [why for manifest in manifests for why in refusals(manifest)]
    assert {manifest["metadata"]["namespace"] for manifest in manifests} == {"123"}


def test_a_version_with_build_metadata_makes_valid_labels(tmp_path: Path) -> None:
    chart = tmp_path / "bascule"
    shutil.copytree(CHART, chart)
    text = (chart / "Chart.yaml").read_text(encoding="utf-8")
    (chart / "Chart.yaml").write_text(text.replace("0.1.0", "0.1.0-rc.1+g0123abc"), encoding="utf-8")
    done = run("v4", "template", "ws", str(chart), values="replicaCount: 1")
    manifests = yamlfast.load_all(done.stdout)
    assert manifests, done.stderr
    assert not [why for manifest in manifests for why in refusals(manifest)]
    assert container(manifests)["image"] == "bascule:0.1.0-rc.1_g0123abc"


class Strict(yaml.SafeLoader):
    """Refuses a key that is given twice, as kustomize and with it Flux do."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=deep) for key, _ in node.value]
        assert len(set(keys)) == len(keys), f"a key twice in {keys}, {node.start_mark}"
        return super().construct_mapping(node, deep=deep)


def test_labels_and_annotations_of_the_values_replace_ours_instead_of_doubling_them() -> None:
    prefix = "nginx.ingress.kubernetes.io/"
    values = {
        "ingress": {"enabled": True, "annotations": {prefix + "affinity-mode": "balanced"}},
        "podLabels": {"app.kubernetes.io/part-of": "x", "app.kubernetes.io/instance": "other"},
        "podAnnotations": {"checksum/config": "mine", "a": "b"},
        "podMonitor": {"enabled": True, "labels": {"app.kubernetes.io/part-of": "x"}},
    }
    done = run("v4", "template", "ws", str(CHART), values=yaml.safe_dump(values))
    manifests = [manifest for manifest in yaml.load_all(done.stdout, Strict) if manifest]
    assert one(manifests, "Ingress")["metadata"]["annotations"][prefix + "affinity-mode"] == "balanced"
    metadata = one(manifests, "Deployment")["spec"]["template"]["metadata"]
    assert metadata["labels"]["app.kubernetes.io/part-of"] == "x"
    # The selector needs its label and the roll its checksum.
    assert metadata["labels"]["app.kubernetes.io/instance"] == "ws"
    assert len(metadata["annotations"]["checksum/config"]) == 64
    assert one(manifests, "PodMonitor")["metadata"]["labels"]["app.kubernetes.io/part-of"] == "x"


def test_common_labels_are_on_every_object_and_in_no_selector(version: str) -> None:
    common = {"owner": "data", "app.kubernetes.io/part-of": "x", "app.kubernetes.io/name": "z"}
    everything = CASES["everything"]
    plain = render(version, everything)
    manifests = render(version, {**everything, "commonLabels": common})
    labels = [manifest["metadata"]["labels"] for manifest in manifests]
    labels.append(one(manifests, "Deployment")["spec"]["template"]["metadata"]["labels"])
    for found in labels:
        assert (found["owner"], found["app.kubernetes.io/part-of"]) == ("data", "x")
        # A selector needs it.
        assert found["app.kubernetes.io/name"] == "bascule"

    def selectors(rendered: list[Manifest]) -> list[Any]:
        return [manifest["spec"].get("selector") for manifest in rendered if "spec" in manifest]

    assert selectors(manifests) == selectors(plain)
    # What says it of one kind of object says more.
    monitor = {"podMonitor": {"enabled": True, "labels": {"team": "monitoring"}}}
    (found,) = [
        manifest
        for manifest in render(version, {**monitor, "commonLabels": {"team": "data"}})
        if manifest["kind"] == "PodMonitor"
    ]
    assert found["metadata"]["labels"]["team"] == "monitoring"


def test_extra_objects_are_templates_and_have_the_common_labels(version: str) -> None:
    values = {
        "commonLabels": {"team": "data", "tier": "web"},
        "extraObjects": [
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": '{{ include "bascule.fullname" . }}-more', "labels": {"tier": "own"}},
                "data": {"at": "{{ .Values.ports.admin }}", "text": 'a: "b"\n{{ "{{" }} x }}\n'},
            },
            {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "two"}, "spec": {"priority": 1000000}},
        ],
    }
    manifests = render(version, values)
    extra = one(manifests, "ConfigMap", "ws-bascule-more")
    assert extra["metadata"]["labels"] == {"team": "data", "tier": "own"}
    assert extra["data"] == {"at": "8081", "text": 'a: "b"\n{{ x }}\n'}
    other = one(manifests, "Pod", "two")
    assert other["metadata"]["labels"] == {"team": "data", "tier": "web"}
    assert other["spec"]["priority"] == 1000000
    values.pop("commonLabels")
    assert "labels" not in one(render(version, values), "Pod", "two")["metadata"]


def test_a_misspelt_field_would_be_found() -> None:
    deployment = one(render("v4", {}), "Deployment")
    broken = yaml.safe_load(yaml.safe_dump(deployment).replace("minReadySeconds", "minReadySecond"))
    with pytest.raises(ValidationError):
        must_fit(broken, "1.33")


def test_the_proxy_accepts_the_configuration(values: dict[str, Any], tmp_path: Any, version: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(configuration(render(version, values)), encoding="utf-8")
    result = CliRunner().invoke(cli, ["check", "--config", str(path)])
    assert result.exit_code == 0, result.output


def test_the_configuration_says_what_the_values_say(tmp_path: Any) -> None:
    values = CASES["values that are false or nothing"]
    path = tmp_path / "config.yaml"
    path.write_text(configuration(render("v4", values)), encoding="utf-8")
    config = load(path, {}).config
    assert config.sockets.no_delay is False
    assert config.sockets.user_timeout == 0
    assert config.limits.max_held_refusals == 0
    assert config.forwarders.count == 3


def test_the_pod_and_the_monitor_have_what_the_values_add() -> None:
    manifests = render("v4", CASES["everything"])
    pod = one(manifests, "Deployment")["spec"]["template"]["spec"]
    assert [container["name"] for container in pod["containers"]] == ["bascule", "logs"]
    assert [container["name"] for container in pod["initContainers"]] == ["app"]
    assert pod["containers"][0]["envFrom"][0]["secretRef"]["name"] == "more"
    assert pod["hostAliases"][0]["hostnames"] == ["app.example"]
    assert (pod["dnsPolicy"], pod["dnsConfig"]["nameservers"]) == ("None", ["10.0.0.10"])
    (endpoint,) = one(manifests, "ServiceMonitor")["spec"]["endpoints"]
    targets = [rule["targetLabel"] for rule in endpoint["relabelings"]]
    assert targets == ["pod_name", "namespace", "node", "team"]
    assert [rule["regex"] for rule in endpoint["metricRelabelings"]] == ["process_.*"]


def test_names_and_labels_are_those_that_kubernetes_recommends(values: dict[str, Any]) -> None:
    names = {"name", "instance", "version", "component", "part-of", "managed-by"}
    for manifest in render("v4", values):
        labels = manifest["metadata"]["labels"]
        assert {f"app.kubernetes.io/{name}" for name in names} <= labels.keys()
        assert manifest["metadata"]["namespace"] == "hopsworks"
        assert len(manifest["metadata"]["name"]) <= 63


def test_every_selector_selects_the_pods(values: dict[str, Any]) -> None:
    manifests = render("v4", values)
    deployment = one(manifests, "Deployment")["spec"]
    labels = deployment["template"]["metadata"]["labels"]
    selectors = [deployment["selector"]["matchLabels"]]
    for manifest in manifests:
        spec = manifest.get("spec", {})
        match manifest["kind"]:
            case "Service":
                selectors.append(spec["selector"])
            case "PodDisruptionBudget" | "PodMonitor":
                selectors.append(spec["selector"]["matchLabels"])
            case "NetworkPolicy":
                selectors.append(spec["podSelector"]["matchLabels"])
            case "ServiceMonitor":
                peers = one(manifests, "Service", "-peers")["metadata"]["labels"]
                assert spec["selector"]["matchLabels"].items() <= peers.items()
            case _:
                pass
    assert all(selector.items() <= labels.items() for selector in selectors)


def test_ports_are_named_where_they_are_referred_to(values: dict[str, Any]) -> None:
    manifests = render("v4", values)
    names = {port["name"] for port in container(manifests)["ports"]}
    for manifest in manifests:
        if manifest["kind"] == "Service":
            assert {port["targetPort"] for port in manifest["spec"]["ports"]} <= names


def test_pods_run_without_privileges(values: dict[str, Any]) -> None:
    manifests = render("v4", values)
    outside, inside = pod(manifests)["securityContext"], container(manifests)["securityContext"]
    assert outside["runAsNonRoot"] is True
    assert outside["runAsUser"] > 0
    assert outside["seccompProfile"] == {"type": "RuntimeDefault"}
    assert inside["readOnlyRootFilesystem"] is True
    assert inside["allowPrivilegeEscalation"] is False
    assert inside["capabilities"] == {"drop": ["ALL"]}
    assert pod(manifests)["automountServiceAccountToken"] is False


def test_a_cluster_that_chooses_users_itself_is_not_told_one() -> None:
    outside = pod(render("v4", {"runAsUser": None}))["securityContext"]
    assert outside == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}


def test_only_readiness_asks_whether_the_pod_takes_sessions() -> None:
    rendered = container(render("v4", {}))
    assert rendered["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "admin"}
    for probe in ("livenessProbe", "startupProbe"):
        assert rendered[probe]["httpGet"] == {"path": "/healthz", "port": "admin"}


def test_a_rollout_waits_as_long_as_it_is_told_and_does_not_fail_for_that() -> None:
    def times(values: dict[str, Any]) -> tuple[int, int]:
        manifest = one(render("v4", values), "Deployment")
        assert not refusals(manifest)
        return manifest["spec"]["minReadySeconds"], manifest["spec"]["progressDeadlineSeconds"]

    assert times({}) == (5, 605)
    assert times({"minReadySeconds": 0}) == (0, 600)
    assert times({"minReadySeconds": 3_000_000}) == (3_000_000, 3_000_600)


def test_a_spread_constraint_without_a_selector_means_our_own_pods(version: str) -> None:
    bare = {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}
    given = {"matchLabels": {"a": "b"}}
    values = [bare, {**bare, "labelSelector": None}, {**bare, "labelSelector": given}]
    deployment = one(render(version, {"topologySpreadConstraints": values}), "Deployment")
    ours = deployment["spec"]["selector"]
    rendered = deployment["spec"]["template"]["spec"]["topologySpreadConstraints"]
    assert rendered == [{**bare, "labelSelector": selector} for selector in (ours, ours, given)]


def test_secrets_are_mounted_and_never_in_the_configuration() -> None:
    manifests = render("v4", CASES["everything"])
    config = yaml.safe_load(configuration(manifests))
    mounts = {mount["mountPath"] for mount in container(manifests)["volumeMounts"]}
    for path in (
        config["adminTokenFile"],
        config["auth"]["session"]["keyFile"],
        config["tls"]["certificate"],
        config["tls"]["key"],
    ):
        assert path.rpartition("/")[0] in mounts
    assert not [manifest for manifest in manifests if manifest["kind"] == "Secret"]


def test_every_volume_is_mounted_and_every_mount_has_a_volume(values: dict[str, Any]) -> None:
    manifests = render("v4", values)
    volumes = {volume["name"] for volume in pod(manifests)["volumes"]}
    assert volumes == {mount["name"] for mount in container(manifests)["volumeMounts"]}


@pytest.mark.parametrize(
    ("release", "values", "name"),
    [
        ("ws", "replicaCount: 2", "ws-bascule"),
        ("bascule", "replicaCount: 2", "bascule"),
        ("ws", "fullnameOverride: hopsworks-instance", "hopsworks-instance"),
        ("ws", "nameOverride: proxy", "ws-proxy"),
        ("x" * 53, "replicaCount: 2", "x" * 46),
        ("2026.11", "replicaCount: 2", "bascule-2026-11"),
    ],
)
def test_names_are_those_of_the_table(release: str, values: str, name: str) -> None:
    done = run("v4", "template", release, str(CHART), values=values)
    names = {manifest["metadata"]["name"] for manifest in yamlfast.load_all(done.stdout)}
    assert names == {name, f"{name}-peers"}
