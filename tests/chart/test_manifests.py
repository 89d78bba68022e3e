"""What the chart renders, by real Helm 3 and 4, against the schemas of real Kubernetes versions."""

import shutil
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml
from click.testing import CliRunner

from bascule.cli import cli
from bascule.policy.loading import load
from bascule.policy.reloading import ONLY_AT_A_START
from tests.chart.apiserver import refusals
from tests.chart.cluster import cluster
from tests.chart.rendering import (
    CASES,
    CHART,
    HELMS,
    ROUTES,
    Manifest,
    configuration,
    one,
    refusal,
    render,
    run,
    websocket_proxy,
)

pytestmark = pytest.mark.real

VERSIONS = ("1.27", "1.29", "1.31", "1.33", "1.35", "1.37")
OURS = {"gateway.networking.k8s.io/v1", "monitoring.coreos.com/v1", "keda.sh/v1alpha1"}


@pytest.fixture(params=HELMS)
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=CASES, ids=lambda name: name.replace(" ", "-"))
def values(request: pytest.FixtureRequest) -> dict[str, Any]:
    return CASES[request.param]


def pod(manifests: list[Manifest]) -> dict[str, Any]:
    spec: dict[str, Any] = one(manifests, "Deployment")["spec"]["template"]["spec"]
    return spec


def container(manifests: list[Manifest]) -> dict[str, Any]:
    only: dict[str, Any] = pod(manifests)["containers"][0]
    return only


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
            kubernetes_validate.validate(manifest, kubernetes, strict=True)


def test_an_api_server_refuses_no_value(values: dict[str, Any]) -> None:
    assert not [why for manifest in render("v4", values) for why in refusals(manifest)]


@pytest.mark.parametrize("release", ["123", "2026.11", "1e3", "on", "a.b", "x" * 53])
def test_an_api_server_refuses_no_release_name_that_helm_takes(version: str, release: str) -> None:
    done = run(version, "template", release, str(CHART), "--namespace", "123", values="replicaCount: 1")
    assert done.returncode == 0, done.stderr
    manifests = [manifest for manifest in yaml.safe_load_all(done.stdout) if manifest]
    assert not [why for manifest in manifests for why in refusals(manifest)]
    assert {manifest["metadata"]["namespace"] for manifest in manifests} == {"123"}


def test_a_version_with_build_metadata_makes_valid_labels(tmp_path: Path) -> None:
    chart = tmp_path / "bascule"
    shutil.copytree(CHART, chart)
    text = (chart / "Chart.yaml").read_text(encoding="utf-8")
    (chart / "Chart.yaml").write_text(text.replace("0.1.0", "0.1.0-rc.1+g0123abc"), encoding="utf-8")
    done = run("v4", "template", "ws", str(chart), values="replicaCount: 1")
    manifests = [manifest for manifest in yaml.safe_load_all(done.stdout) if manifest]
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
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, "1.33", strict=True)


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


def test_the_kubelet_never_ends_a_drain(values: dict[str, Any], tmp_path: Any) -> None:
    manifests = render("v4", values)
    path = tmp_path / "config.yaml"
    path.write_text(configuration(manifests), encoding="utf-8")
    config = load(path, {}).config
    before = int(container(manifests)["lifecycle"]["preStop"]["exec"]["command"][1])
    grace = pod(manifests)["terminationGracePeriodSeconds"]
    stop = config.drain.timeout + config.drain.last_scrape
    assert grace >= before + stop + config.limits.closing_handshake_timeout
    longest = config.drain.timeout == 10 * 365 * 86400
    if values.get("drain", {}).get("timeout") is None and config.drain.rate and not longest:
        spread = config.drain.window or config.websocket_proxy.max_sessions_per_app / config.drain.rate
        assert 0.9 * config.drain.timeout >= config.drain.natural_end + spread


@pytest.mark.parametrize(
    ("values", "grace"),
    [
        # preStop 10 + drain + margin 10; drain = (naturalEnd + cap/rate) / 0.9 + closing 5, at least 30
        ({}, 50),
        (CASES["a slow drain"], 10 + (556 + 5) + 10),
        (CASES["a drain at once"], 50),
        (CASES["a fixed drain"], 10 + 46 + 10),
        (CASES["a drain in a window"], 600),
        ({"shutdown": {"preStopDelay": "1500ms", "margin": "1m"}}, 2 + 30 + 60),
        # The last scrape is the monitor's interval and 5 s, unless it is given.
        (CASES["a pod monitor"], 10 + 30 + (15 + 5) + 10),
        ({"serviceMonitor": {"enabled": True, "interval": "30s"}}, 10 + 30 + (30 + 5) + 10),
        ({"podMonitor": {"enabled": True}, "drain": {"lastScrape": 0}}, 50),
        ({"drain": {"lastScrape": "1m"}}, 10 + 30 + 60 + 10),
    ],
)
def test_grace_periods_by_hand(values: dict[str, Any], grace: int) -> None:
    assert pod(render("v4", values))["terminationGracePeriodSeconds"] == grace


def test_a_grace_period_that_would_cut_sessions_is_refused(version: str) -> None:
    values = "shutdown: {terminationGracePeriodSeconds: 30}"
    done = run(version, "template", "ws", str(CHART), values=values)
    assert done.returncode != 0
    assert "the kubelet would cut live sessions" in done.stderr


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"autoscaling": {"enabled": True, "minReplicas": 5, "maxReplicas": 3}}, "no number of pods fits"),
        ({"serviceMonitor": {"enabled": True}, "podMonitor": {"enabled": True}}, "scraped twice"),
        ({"drain": {"timeout": "45s", "naturalEnd": "5m"}}, "nobody would be told"),
        ({"routes": [{**ROUTES[0], "auth": "session"}]}, "needs auth.session.keySecret.name"),
        ({"ports": {"http": 8081}}, "each needs a port of its own"),
        ({"extraConfig": {"drain": {"timeout": "10m"}}}, "which ports, memory and the grace period follow"),
        ({"extraConfig": {"limits": {"closingHandshakeTimeout": "2m"}}}, "use the chart's own values"),
        ({"extraConfig": {"websocketProxy": {"maxSessionsPerApp": 5000}}}, "use the chart's own values"),
        ({"extraConfig": {"admin": "0.0.0.0:9999"}}, "use the chart's own values"),
        ({"extraConfig": {"adminTls": {"certificate": "c", "key": "k"}}}, "adminTls: not in this chart"),
        (
            {"extraEnv": [{"name": "BASCULE_ADMINTLS__CERTIFICATE", "value": "c"}]},
            "adminTls: not in this chart",
        ),
        ({"httpRoute": {"enabled": True}}, "a route without a Gateway is nobody's"),
        (
            {"prometheusRule": {"enabled": True, "disabled": ["BasculeRoutesFull"]}},
            "no alert BasculeRoutesFull",
        ),
        ({"service": {"nodePort": 30080}}, "service.nodePort says nothing of a Service of type ClusterIP"),
        ({"service": {"redirectPort": 8000}}, "service.redirectPort needs tls.secretName"),
        (
            {"tls": {"secretName": "a"}, "service": {"port": 443, "redirectPort": 443}},
            "service.port and service.redirectPort are both 443",
        ),
        (
            {"tls": {"secretName": "a"}, "service": {"redirectPort": 81}, "ports": {"redirect": 8081}},
            "ports.redirect is 8081, which has another use",
        ),
        ({"service": {"externalTrafficPolicy": "Local"}}, "service.externalTrafficPolicy says nothing"),
        ({"service": {"type": "NodePort", "loadBalancerClass": "a"}}, "of a Service of type NodePort"),
        ({"service": {"loadBalancerSourceRanges": ["10.0.0.0/8"]}}, "an API server refuses it"),
        ({"service": {"ipFamilies": ["IPv6"]}}, "asks for IPv6, where nothing listens"),
        ({"service": {"ipFamilyPolicy": "PreferDualStack"}}, "bindAddress is 0.0.0.0; [::] takes both"),
        ({"bindAddress": "[::]", "service": {"ipFamilies": ["IPv6", "IPv4"]}}, "ipFamilyPolicy must allow"),
        ({"extraObjects": [{"kind": '{{ "a\\x27 b" }}'}]}, "what the templates in it give is no YAML"),
        ({"hopsworks": {"payara": {"websocketProxy": None}}}, "leave it out to have the default"),
        ({"hopsworks": None}, "leave it out to have the default"),
        (websocket_proxy(maxSessionsPerApp=None), "leave it out to have the default"),
    ],
)
def test_values_that_contradict_each_other_are_refused_with_a_reason(
    version: str, values: dict[str, Any], message: str
) -> None:
    assert message in refusal(version, values)


def route(upstream: str) -> dict[str, str]:
    return {"name": upstream[-1], "path": f"/{upstream[-1]}/", "upstream": upstream}


def test_memory_follows_the_cap() -> None:
    def request(cap: int) -> int:
        values = {"hopsworks": {"payara": {"websocketProxy": {"maxSessionsPerApp": cap}}}}
        text = container(render("v4", values))["resources"]["requests"]["memory"]
        return int(text.removesuffix("Mi"))

    per_session = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))["sizing"][
        "bytesPerSession"
    ]
    assert request(20500) - request(500) == pytest.approx(20000 * per_session / 2**20, abs=1)


@pytest.mark.parametrize(
    ("values", "keys"),
    [
        ({}, []),
        ({"tls": {"secretName": "a"}}, ["tlsBytesPerSession"]),
        ({"routes": [route("https://lab")]}, ["upstreamTlsBytesPerSession"]),
        ({"routes": [route("http://https.lab")]}, []),
        ({"upstreamTls": {"ca": "/ca.pem"}}, ["upstreamTlsBytesPerSession"]),
        (
            {"adminToken": {"name": "a"}, "hub": {"enabled": True, "defaultTarget": "https://hub"}},
            ["upstreamTlsBytesPerSession"],
        ),
        ({"hub": {"enabled": False, "defaultTarget": "https://hub"}}, []),
        (
            {"tls": {"secretName": "a"}, "routes": [route("http://a"), route("https://b")]},
            ["tlsBytesPerSession", "upstreamTlsBytesPerSession"],
        ),
    ],
)
def test_memory_follows_tls_on_either_side(values: dict[str, Any], keys: list[str]) -> None:
    sizing = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))["sizing"]
    each = sum(sizing[key] for key in ("bytesPerSession", *keys))
    text = container(render("v4", {**websocket_proxy(maxSessionsPerApp=4096), **values}))["resources"]
    processes = sizing["baseBytes"] + 2 * sizing["forwarderBytes"]
    assert text["requests"]["memory"] == f"{(processes + 4096 * each) >> 20}Mi"


@pytest.mark.parametrize(
    ("key", "stalled"), [("tlsBytesPerSession", 340 << 10), ("upstreamTlsBytesPerSession", 1060 << 10)]
)
def test_the_limit_holds_sessions_with_tls_that_are_all_stalled(key: str, stalled: int) -> None:
    """As measured by tests/sessions/test_tls_memory.py; of other memory there is less than is requested."""
    sizing = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))["sizing"]
    processes = sizing["baseBytes"] + 2 * sizing["forwarderBytes"]
    limit = sizing["limitFactor"] * (processes + 500 * (sizing["bytesPerSession"] + sizing[key]))
    assert processes + 500 * stalled <= limit


def test_what_the_values_say_of_resources_wins() -> None:
    resources = container(render("v4", CASES["cores from a limit"]))["resources"]
    assert resources["limits"] == {"cpu": "2500m", "memory": "1Gi"}
    assert resources["requests"]["cpu"] == "500m"


@pytest.mark.parametrize(
    ("resources", "requests", "limits"),
    [
        # Less than the default request of CPU, less memory than the cap is reckoned with.
        (
            {"limits": {"cpu": 0.2, "memory": "128Mi"}},
            {"cpu": 0.2, "memory": "128Mi"},
            {"cpu": 0.2, "memory": "128Mi"},
        ),
        (
            {"limits": {"cpu": "250m", "memory": 1e8}},
            {"cpu": "250m", "memory": 1e8},
            {"cpu": "250m", "memory": 1e8},
        ),
        ({"limits": {"memory": "1G"}}, {"cpu": "500m", "memory": "224Mi"}, {"memory": "1G"}),
        ({"limits": {"memory": "1Pi"}}, {"cpu": "500m", "memory": "224Mi"}, {"memory": "1Pi"}),
        (
            {"requests": {"cpu": "250000u"}, "limits": {"cpu": "1"}},
            {"cpu": "250000u", "memory": "192Mi"},
            {"cpu": "1", "memory": "288Mi"},
        ),
        ({"requests": {"memory": "2Gi"}}, {"cpu": "500m", "memory": "2Gi"}, {"memory": "3072Mi"}),
        ({"requests": {"cpu": "100m"}}, {"cpu": "100m", "memory": "224Mi"}, {"memory": "336Mi"}),
        (None, {"memory": "224Mi"}, {"memory": "336Mi"}),
    ],
)
def test_no_request_is_above_its_limit(
    resources: dict[str, Any] | None, requests: dict[str, Any], limits: dict[str, Any]
) -> None:
    manifests = render("v4", {"resources": resources})
    assert not [why for manifest in manifests for why in refusals(manifest)]
    assert container(manifests)["resources"] == {"requests": requests, "limits": limits}


@pytest.mark.parametrize(
    ("values", "count"),
    [
        ({}, 2),
        (CASES["cores from a limit"], 3),
        (CASES["the contract's keys"], 1),
        (CASES["values that are false or nothing"], 3),
        # A request is not all that the pod may use; a limit is.
        ({"resources": {"requests": {"cpu": "200m"}}}, 2),
        ({"resources": {"limits": {"cpu": "200m"}}}, 1),
        ({"resources": None}, 2),
        ({"resources": {"requests": {"cpu": 4}}}, 4),
    ],
)
def test_forwarders_follow_the_pods_cores_not_the_nodes(values: dict[str, Any], count: int) -> None:
    assert yaml.safe_load(configuration(render("v4", values)))["forwarders"]["count"] == count


def pod_template(values: dict[str, Any]) -> dict[str, Any]:
    """Return what of a Deployment replaces its pods when it changes."""
    template: dict[str, Any] = one(render("v4", values), "Deployment")["spec"]["template"]
    return template


def checksum(values: dict[str, Any]) -> str:
    return str(pod_template(values)["metadata"]["annotations"]["checksum/config"])


def test_a_change_that_a_running_proxy_takes_over_replaces_no_pod() -> None:
    first = pod_template({})
    for values in (
        {"replicaCount": 5},
        {"dashboard": {"enabled": True}},
        {"log": {"level": "debug"}},
        {"limits": {"maxSessionsPerUser": 50}},
        {"trustedProxies": ["10.0.0.0/8"]},
        {"routes": [{"name": "all", "path": "/", "upstream": "http://lab:8888"}]},
        {"extraConfig": {"auth": {"session": {"issuer": "us"}}}},
    ):
        assert pod_template(values) == first, values


def test_a_change_that_only_a_start_can_make_replaces_the_pods() -> None:
    changes: dict[tuple[str, ...], dict[str, Any]] = {
        ("listen",): {"ports": {"http": 9000}},
        ("listenMode",): {"extraConfig": {"listenMode": "0600"}},
        ("admin",): {"ports": {"admin": 9001}},
        ("adminMode",): {"extraConfig": {"adminMode": "0660"}},
        ("websocketProxy", "grizzlyWorkerPoolMaxSize"): pool(grizzlyWorkerPoolMaxSize=1),
        ("forwarders", "count"): {"forwarders": {"count": 7}},
        ("forwarders", "readBufferBytes"): {"forwarders": {"readBufferBytes": 4096}},
        ("tls", "redirectFrom"): {
            "tls": {"secretName": "a"},
            "service": {"port": 443, "redirectPort": 80},
        },
    }
    assert set(changes) == set(ONLY_AT_A_START)
    sums = {key: checksum(values) for key, values in changes.items()}
    assert len({checksum({}), *sums.values()}) == len(changes) + 1


def test_without_changes_in_place_every_change_of_the_configuration_replaces_the_pods() -> None:
    off = {"reloadOnChange": False}
    assert checksum(off) == checksum({**off, "replicaCount": 5})
    assert len({checksum({}), checksum(off), checksum({**off, "log": {"level": "debug"}})}) == 3


def pool(**keys: int) -> dict[str, Any]:
    return {"hopsworks": {"payara": {"websocketProxy": keys}}}


def test_jupyterhub_tells_ready_pods_and_they_tell_each_other() -> None:
    manifests = render("v4", CASES["JupyterHub"])
    service = one(manifests, "Service", "-api")["spec"]
    (port,) = service["ports"]
    assert (port["port"], port["targetPort"]) == (8001, "admin")
    assert "clusterIP" not in service
    assert "publishNotReadyAddresses" not in service
    config = yaml.safe_load(configuration(manifests))
    assert config["hub"] == {
        "enabled": True, "shareRoutes": True, "hostRouting": False, "includePrefix": True, "maxRoutes": 20000,
        "prependPath": True, "allowedOrigins": ["https://hub.example"], "defaultTarget": None,
        "errorTarget": None,
    }  # fmt: skip
    assert "hub" not in yaml.safe_load(configuration(render("v4", {})))


def test_whoever_may_add_routes_needs_a_token() -> None:
    said = refusal("v4", {"hub": {"enabled": True}})
    assert "hub.enabled needs adminToken.name" in said


def test_plain_http_is_redirected_to_the_port_of_the_service() -> None:
    manifests = render("v4", CASES["a load balancer that redirects"])
    tls = yaml.safe_load(configuration(manifests))["tls"]
    assert (tls["redirectFrom"], tls["redirectPort"]) == ("0.0.0.0:8082", 443)
    ports = one(manifests, "Service", "ws-bascule")["spec"]["ports"]
    assert [(port["name"], port["port"], port["targetPort"], port["appProtocol"]) for port in ports] == [
        ("http", 443, "http", "https"),
        ("redirect", 80, "redirect", "http"),
    ]
    (container,) = one(manifests, "Deployment", "ws-bascule")["spec"]["template"]["spec"]["containers"]
    assert {"name": "redirect", "containerPort": 8082, "protocol": "TCP"} in container["ports"]
    open_to_browsers = one(manifests, "NetworkPolicy", "ws-bascule")["spec"]["ingress"][0]["ports"]
    assert [port["port"] for port in open_to_browsers] == ["http", "redirect"]
    assert "redirect" not in str(render("v4", {"tls": {"secretName": "cert"}}))


def test_a_load_balancer_is_told_what_the_values_say_and_nothing_else_is() -> None:
    values = CASES["a load balancer of both families"]
    manifests = render("v4", values)
    spec = one(manifests, "Service", "ws-bascule")["spec"]
    (port,) = spec.pop("ports")
    told = {key: value for key, value in spec.items() if key != "selector"}
    asked = {**values["service"]}
    assert (port["port"], port["nodePort"], port["appProtocol"]) == tuple(
        asked.pop(key) for key in ("port", "nodePort", "appProtocol")
    )
    assert told == asked
    for name in ("-peers", "-api"):
        inside = one(manifests, "Service", name)["spec"]
        assert inside["ipFamilies"] == ["IPv6", "IPv4"], name
        assert inside["ipFamilyPolicy"] == "RequireDualStack"
        assert not {"type", "loadBalancerClass", "externalTrafficPolicy"} & inside.keys()
    usual = one(render("v4", {}), "Service", "ws-bascule")["spec"]
    assert usual.keys() == {"type", "selector", "ports"}
    assert usual["ports"][0]["appProtocol"] == "http"


def test_peers_are_found_even_when_full_or_draining() -> None:
    manifests = render("v4", {})
    service = one(manifests, "Service", "-peers")
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["publishNotReadyAddresses"] is True
    capacity = yaml.safe_load(configuration(manifests))["capacity"]
    assert capacity["headlessService"] == "ws-bascule-peers.hopsworks.svc"
    listed = yaml.safe_load(configuration(render("v4", CASES["listed peers"])))["capacity"]
    assert listed.get("headlessService") is None


def test_the_ingress_binds_browsers_to_pods_as_the_platform_does() -> None:
    annotations = one(render("v4", CASES["everything"]), "Ingress")["metadata"]["annotations"]
    prefix = "nginx.ingress.kubernetes.io/"
    assert annotations[prefix + "affinity"] == "cookie"
    assert annotations[prefix + "affinity-mode"] == "persistent"
    assert annotations[prefix + "session-cookie-max-age"] == "5259600"
    assert annotations[prefix + "session-cookie-expires"] == "5259600"
    assert annotations[prefix + "proxy-body-size"] == "0"
    without = one(render("v4", CASES["little"]), "Ingress")["metadata"]["annotations"]
    assert prefix + "affinity" not in without
    assert not any("session-cookie" in name for name in without)


def test_one_cookie_binds_a_browser_on_every_path_of_the_ingress() -> None:
    # Each path had one of its own, and the badge could speak of another pod than the one JupyterLab was on.
    prefix = "nginx.ingress.kubernetes.io/"
    hosts = [{"host": "a.example", "paths": ["/jupyter", "/.bascule"]}]
    values: dict[str, Any] = {"ingress": {"enabled": True, "hosts": hosts}}
    ingress = one(render("v4", values), "Ingress")
    paths = [path["path"] for path in ingress["spec"]["rules"][0]["http"]["paths"]]
    annotations = ingress["metadata"]["annotations"]
    assert paths == ["/jupyter", "/.bascule"]
    assert annotations[prefix + "session-cookie-path"] == "/"
    assert annotations[prefix + "session-cookie-name"] == "ws-bascule-pod"

    values["ingress"]["annotations"] = {prefix + "session-cookie-path": "/jupyter"}
    ingress = one(render("v4", values), "Ingress")
    assert ingress["metadata"]["annotations"][prefix + "session-cookie-path"] == "/jupyter"


def test_a_gateway_sends_everything_to_the_service_and_never_ends_a_session() -> None:
    route = one(render("v4", CASES["a gateway"]), "HTTPRoute")
    asked = CASES["a gateway"]["httpRoute"]
    assert route["metadata"]["annotations"] == {"a": "b"}
    assert route["spec"]["parentRefs"] == asked["parentRefs"]
    assert route["spec"]["hostnames"] == asked["hostnames"]
    assert route["spec"]["rules"] == [
        {
            "name": "all",
            "matches": [
                {"path": {"type": "PathPrefix", "value": "/jupyter"}},
                {"path": {"type": "PathPrefix", "value": "/.bascule"}},
            ],
            "backendRefs": [{"name": "ws-bascule", "port": 8000}],
            "timeouts": {"request": "0s", "backendRequest": "0s"},
        }
    ]
    plain = {"enabled": True, "parentRefs": [{"name": "gateway"}], "timeouts": {"request": None}}
    spec = one(render("v4", {"httpRoute": plain}), "HTTPRoute")["spec"]
    assert spec == {
        "parentRefs": [{"name": "gateway"}],
        "rules": [
            {
                "matches": [{"path": {"type": "PathPrefix", "value": "/"}}],
                "backendRefs": [{"name": "ws-bascule", "port": 80}],
            }
        ],
    }


def test_paths_are_prefixes_unless_the_controller_reads_them_its_own_way() -> None:
    def kinds(**ingress: Any) -> set[tuple[str, str]]:
        values = {"ingress": {"enabled": True, "hosts": [{"paths": ["/jupyter/*"]}], **ingress}}
        (rule,) = one(render("v4", values), "Ingress")["spec"]["rules"]
        return {(path["path"], path["pathType"]) for path in rule["http"]["paths"]}

    assert kinds() == {("/jupyter/*", "Prefix")}
    own = "ImplementationSpecific"
    assert kinds(pathType=own) == {("/jupyter/*", own)}


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


def test_a_spread_constraint_without_a_selector_means_our_own_pods(version: str) -> None:
    bare = {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}
    given = {"matchLabels": {"a": "b"}}
    values = [bare, {**bare, "labelSelector": None}, {**bare, "labelSelector": given}]
    deployment = one(render(version, {"topologySpreadConstraints": values}), "Deployment")
    ours = deployment["spec"]["selector"]
    rendered = deployment["spec"]["template"]["spec"]["topologySpreadConstraints"]
    assert rendered == [{**bare, "labelSelector": selector} for selector in (ours, ours, given)]


def test_scaling_is_on_sessions_and_down_slowly() -> None:
    spec = one(render("v4", CASES["everything"]), "HorizontalPodAutoscaler")["spec"]
    pods = spec["metrics"][0]["pods"]
    assert pods["metric"]["name"] == "ws_connection_in_flight_count"
    assert pods["target"] == {"type": "AverageValue", "averageValue": "350"}
    down = spec["behavior"]["scaleDown"]
    assert down["stabilizationWindowSeconds"] == 1800
    assert down["policies"] == [{"type": "Pods", "value": 1, "periodSeconds": 600}]


def test_the_admin_port_is_closed_to_strangers() -> None:
    policy = one(render("v4", {"networkPolicy": {"enabled": True}}), "NetworkPolicy")["spec"]
    by_port = {rule["ports"][0]["port"]: rule for rule in policy["ingress"]}
    assert "from" not in by_port["http"]
    assert len(by_port["admin"]["from"]) == 1


def test_pods_may_ask_each_other_whatever_egress_the_values_allow() -> None:
    values = {"networkPolicy": {"enabled": True, "egress": []}}
    manifests = render("v4", values)
    policy = one(manifests, "NetworkPolicy")["spec"]
    (rule,) = policy["egress"]
    assert rule["ports"] == [{"port": "admin", "protocol": "TCP"}]
    (peer,) = rule["to"]
    labels = one(manifests, "Deployment")["spec"]["template"]["metadata"]["labels"]
    assert peer["podSelector"]["matchLabels"].items() <= labels.items()


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
    names = {
        manifest["metadata"]["name"] for manifest in yaml.safe_load_all(done.stdout) if manifest is not None
    }
    assert names == {name, f"{name}-peers"}


def test_notes_tell_what_to_do_next() -> None:
    # Helm 3 renders the notes only in front of an API server.
    arguments = ["install", "ws", str(CHART), "--dry-run=client", "--namespace", "hopsworks"]
    done = run("v4", *arguments)
    assert done.returncode == 0, done.stderr
    notes = done.stdout.partition("NOTES:")[2]
    assert "up to 500 WebSocket sessions" in notes
    assert "no routes yet" in notes
    for command in ("rollout status", "port-forward", "upgrade ws"):
        assert command in notes
    assert "need `adminToken`" in notes


def notes(values: dict[str, Any]) -> str:
    """Return the notes in one line."""
    done = run("v4", "install", "ws", str(CHART), "--dry-run=client", values=yaml.safe_dump(values))
    assert done.returncode == 0, done.stderr
    return " ".join(done.stdout.partition("NOTES:")[2].split())


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"replicaCount": 1}, "sessions on its one pod."),
        ({"replicaCount": 2}, "sessions on each of 2 pods."),
        ({"autoscaling": {"enabled": True}}, "sessions on each of 2 to 10 pods."),
    ],
)
def test_notes_count_the_pods(values: dict[str, Any], words: str) -> None:
    assert words in notes(values)


@pytest.mark.parametrize(
    ("bad", "good", "words"),
    [
        (
            {"image": {"pullPolicy": "Always"}},
            {"image": {"repository": "registry.example/bascule"}},
            "`image.repository` has its default",
        ),
        (
            {"pdb": {"maxUnavailable": 0}},
            {"pdb": {"maxUnavailable": 0, "enabled": False}},
            "`pdb.maxUnavailable` is 0",
        ),
        ({"pdb": {"maxUnavailable": "0%"}}, {"pdb": {"maxUnavailable": "10%"}}, "`pdb.maxUnavailable` is 0%"),
        (
            {"ingress": {"enabled": True}},
            {"ingress": {"enabled": True}, "trustedProxies": ["10.0.0.0/8"]},
            "`trustedProxies` is empty: every client appears as the ingress",
        ),
        (
            {"httpRoute": {"enabled": True, "parentRefs": [{"name": "g"}]}},
            {
                "httpRoute": {"enabled": True, "parentRefs": [{"name": "g"}]},
                "trustedProxies": ["10.0.0.0/8"],
            },
            "`trustedProxies` is empty: every client appears as the Gateway",
        ),
        (
            {"httpRoute": {"enabled": True, "parentRefs": [{"name": "g"}]}, "tls": {"secretName": "t"}},
            {"httpRoute": {"enabled": True, "parentRefs": [{"name": "g"}]}},
            "only with a BackendTLSPolicy",
        ),
        (
            {"prometheusRule": {"enabled": True}},
            {"prometheusRule": {"enabled": True, "runbookBaseUrl": "https://docs.example/runbooks"}},
            "`prometheusRule.runbookBaseUrl` has its default",
        ),
        ({}, {"podMonitor": {"enabled": True}}, "set `podMonitor.enabled`, and `prometheusRule.enabled`"),
        (
            {"prometheusRule": {"enabled": True}},
            {"serviceMonitor": {"enabled": True}},
            "set `podMonitor.enabled`; for one without it there is a job in `alerts/prometheus/scrape.yaml`",
        ),
        # 128 MiB, 32 for each of two forwarders, 64 KiB for each of 500 sessions
        (
            {"resources": {"limits": {"memory": "223Mi"}, "requests": {"cpu": 2}}},
            {"resources": {"limits": {"memory": "224Mi"}, "requests": {"cpu": 2}}},
            "`resources.limits.memory` is 223Mi, and a full pod may need 224Mi",
        ),
    ],
)
def test_notes_warn_of_a_value_that_will_hurt_later(
    bad: dict[str, Any], good: dict[str, Any], words: str
) -> None:
    assert words in notes(bad)
    assert words not in notes(good)


def test_notes_warn_of_a_policy_that_shuts_prometheus_out() -> None:
    policy = {"networkPolicy": {"enabled": True}, "podMonitor": {"enabled": True}}
    arguments = ["install", "ws", str(CHART), "--dry-run=client"]
    assert "Name Prometheus" in run("v4", *arguments, values=yaml.safe_dump(policy)).stdout
    policy["networkPolicy"]["adminFrom"] = [{"podSelector": {}}]  # type: ignore[assignment]
    assert "Name Prometheus" not in run("v4", *arguments, values=yaml.safe_dump(policy)).stdout
