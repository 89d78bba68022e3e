"""Render the chart with the real Helm, and the values that the tests render it with."""

import os
import pickle
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

from tests.support import yamlfast
from tests.support.parts import missing

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts" / "bascule"
HELMS = ("v3", "v4")

Manifest = dict[str, Any]

ROUTES: list[dict[str, Any]] = [
    {
        "name": "lab",
        "kind": "jupyter",
        "path": "/jupyter/{port}/",
        "upstream": "http://10.0.0.1:{port}",
        "where": {"port": "4[0-9]{4}"},
    },
    {
        "name": "app",
        "kind": "app",
        "path": "/apps/{project}/{app}/",
        "upstream": "http://{app}.{project}.svc:8501",
        "stripPrefix": True,
        "where": {"project": "[a-z0-9]+", "app": "[a-z0-9-]+"},
        "incomingBufferBytes": 209715200,
        "allowedOrigins": ["https://hopsworks.example"],
    },
]


def websocket_proxy(**keys: int | None) -> dict[str, Any]:
    """Values at the contract's path."""
    return {"hopsworks": {"payara": {"websocketProxy": keys}}}


CASES: dict[str, dict[str, Any]] = {
    "defaults": {},
    "the contract's keys": websocket_proxy(
        maxSessionsPerApp=2147483647,
        incomingBufferBytes=2147483647,
        grizzlyWorkerPoolMaxSize=1,
        sessionIdleTimeoutMs=86400000,
        heartbeatIntervalMs=0,
    ),
    "a whole platform's values": {
        "hopsworks": {"payara": {"payaraVersion": "6", "websocketProxy": {"maxSessionsPerApp": 20}}, "x": 1}
    },
    "routes": {"routes": ROUTES, "trustedProxies": ["10.0.0.0/8"]},
    "everything": {
        "routes": ROUTES,
        "fullnameOverride": "hopsworks-instance",
        "image": {"repository": "registry.example/bascule", "digest": "sha256:" + "0" * 64},
        "imagePullSecrets": [{"name": "pull"}],
        "ingress": {
            "enabled": True,
            "hosts": [{"host": "hopsworks.example", "paths": ["/jupyter", "/apps"]}],
            "tls": [{"secretName": "tls", "hosts": ["hopsworks.example"]}],
        },
        "serviceMonitor": {
            "enabled": True,
            "labels": {"release": "p"},
            "relabelings": [{"sourceLabels": ["__meta_kubernetes_pod_label_team"], "targetLabel": "team"}],
            "metricRelabelings": [{"action": "drop", "sourceLabels": ["__name__"], "regex": "process_.*"}],
        },
        "prometheusRule": {"enabled": True, "runbookBaseUrl": "https://docs.example/runbooks/"},
        "dashboard": {"enabled": True},
        "autoscaling": {"enabled": True},
        "networkPolicy": {
            "enabled": True,
            "httpFrom": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ingress"}}}],
            "adminFrom": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "mon"}}}],
            "egress": [{"ports": [{"port": 53, "protocol": "UDP"}]}, {"to": [{"podSelector": {}}]}],
        },
        "serviceAccount": {"annotations": {"a": "b"}},
        "adminToken": {"name": "admin"},
        "auth": {"session": {"keySecret": {"name": "jwt"}}},
        "tls": {"secretName": "pod-tls"},
        "podAnnotations": {"a": "b"},
        "podLabels": {"team": "x"},
        "commonLabels": {"cost-centre": "x"},
        "nodeSelector": {"pool": "web"},
        "tolerations": [{"key": "web", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "topologySpreadConstraints": [
            {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}
        ],
        "priorityClassName": "high",
        "extraEnv": [{"name": "BASCULE_PURE", "value": "1"}],
        "extraVolumes": [{"name": "more", "emptyDir": {}}],
        "extraVolumeMounts": [{"name": "more", "mountPath": "/more"}],
        "extraEnvFrom": [
            {"secretRef": {"name": "more", "optional": True}},
            {"configMapRef": {"name": "a"}, "prefix": "A_"},
        ],
        "extraContainers": [{"name": "logs", "image": "registry.example/logs:1"}],
        "extraInitContainers": [{"name": "app", "image": "registry.example/app:1"}],
        "hostAliases": [{"ip": "10.0.0.7", "hostnames": ["app.example"]}],
        "dnsPolicy": "None",
        "dnsConfig": {"nameservers": ["10.0.0.10"], "options": [{"name": "ndots", "value": "1"}]},
        "service": {"annotations": {"a": "b"}},
    },
    "a gateway": {
        "httpRoute": {
            "enabled": True,
            "annotations": {"a": "b"},
            "parentRefs": [
                {"name": "gateway", "namespace": "gateways", "sectionName": "https"},
                {"group": "", "kind": "Service", "name": "mesh", "port": 80},
            ],
            "hostnames": ["hopsworks.example", "*.apps.example"],
            "paths": ["/jupyter", "/.bascule"],
            "rule": {"name": "all", "timeouts": {"backendRequest": "0s"}},
        },
        "service": {"port": 8000},
    },
    "a pod monitor": {"podMonitor": {"enabled": True, "labels": {"release": "p"}}},
    "a login": {
        "routes": [{**ROUTES[0], "auth": "session"}],
        "auth": {"session": {"keySecret": {"name": "jwt"}}},
    },
    "an IPv6 cluster": {"bindAddress": "[::]", "routes": ROUTES},
    "a load balancer of both families": {
        "bindAddress": "[::]",
        "hub": {"enabled": True},
        "adminToken": {"name": "admin"},
        "service": {
            "type": "LoadBalancer",
            "port": 443,
            "nodePort": 30443,
            "appProtocol": "kubernetes.io/ws",
            "externalTrafficPolicy": "Local",
            "loadBalancerClass": "example.com/internal",
            "loadBalancerSourceRanges": ["10.0.0.0/8"],
            "ipFamilyPolicy": "RequireDualStack",
            "ipFamilies": ["IPv6", "IPv4"],
        },
    },
    "a load balancer that redirects": {
        "routes": ROUTES,
        "tls": {"secretName": "cert"},
        "service": {"type": "LoadBalancer", "port": 443, "redirectPort": 80},
        "networkPolicy": {"enabled": True},
    },
    "keda": {"autoscaling": {"enabled": True, "type": "keda"}},
    "a slow drain": {"drain": {"naturalEnd": "5m", "rate": 5}, **websocket_proxy(maxSessionsPerApp=1000)},
    "a drain of years": {"drain": {"rate": 5}, **websocket_proxy(maxSessionsPerApp=2147483647)},
    "a drain in a window": {"drain": {"window": "2m"}, "shutdown": {"terminationGracePeriodSeconds": 600}},
    "a drain at once": {"drain": {"rate": 0, "naturalEnd": 0}},
    "a fixed drain": {"drain": {"timeout": 45.5}},
    "values that are false or nothing": {
        "sockets": {"noDelay": False, "userTimeout": 0},
        "extraConfig": {"limits": {"maxHeldRefusals": 0}},
        "forwarders": {"count": 3},
        "resources": {},
    },
    "cores from a limit": {"resources": {"limits": {"cpu": "2500m", "memory": "1Gi"}}},
    "JupyterHub": {
        "hub": {"enabled": True, "allowedOrigins": ["https://hub.example"]},
        "adminToken": {"name": "admin"},
        "trustedProxies": ["10.0.0.0/8"],
    },
    "listed peers": {"capacity": {"peers": ["10.0.0.1:8081"], "name": "a"}},
    "little": {
        "pdb": {"enabled": False},
        "serviceAccount": {"create": False},
        "replicaCount": 1,
        "ingress": {"enabled": True, "affinity": {"enabled": False}, "annotations": {"a": "b"}},
    },
}


def helm(version: str) -> Path:
    """Return the Helm binary of a major version, or skip with the command that installs it."""
    binary = ROOT / "build" / "helm" / version / "helm"
    if not os.access(binary, os.X_OK):
        missing(f"Helm {version} is not installed: scripts/install-helm")
    return binary


def run(version: str, *arguments: str, values: str = "") -> subprocess.CompletedProcess[str]:
    """Run Helm; `values` is the text of a values file, read from standard input."""
    return subprocess.run(
        [str(helm(version)), *arguments, "--values", "-"] if values else [str(helm(version)), *arguments],
        input=values or None,
        capture_output=True,
        text=True,
        check=False,
    )


@cache
def _rendered(version: str, values: str, kubernetes: str) -> bytes:
    done = run(
        version,
        "template",
        "ws",
        str(CHART),
        "--namespace",
        "hopsworks",
        "--kube-version",
        kubernetes,
        values=values,
    )
    assert done.returncode == 0, done.stderr
    return pickle.dumps(yamlfast.load_all(done.stdout))


def render(version: str, values: dict[str, Any], kubernetes: str = "1.33.0") -> list[Manifest]:
    """Return the manifests of a release called `ws`."""
    # A copy for each caller: some change what they got.
    manifests: list[Manifest] = pickle.loads(_rendered(version, yamlfast.dump(values), kubernetes))
    return manifests


def refusal(version: str, values: dict[str, Any]) -> str:
    """Return what Helm says of values that the chart refuses."""
    done = run(version, "template", "ws", str(CHART), values=yamlfast.dump(values))
    assert done.returncode != 0
    return done.stderr


def one(manifests: list[Manifest], kind: str, name_ending: str = "") -> Manifest:
    """Return the only manifest of a kind whose name ends so."""
    found = [
        manifest
        for manifest in manifests
        if manifest["kind"] == kind and manifest["metadata"]["name"].endswith(name_ending)
    ]
    assert len(found) == 1, f"{len(found)} of {kind} …{name_ending}"
    return found[0]


def configuration(manifests: list[Manifest]) -> str:
    """Return the text of the configuration file."""
    for manifest in manifests:
        if manifest["kind"] == "ConfigMap" and "config.yaml" in manifest["data"]:
            text: str = manifest["data"]["config.yaml"]
            return text
    raise AssertionError("no ConfigMap with config.yaml")


def pod(manifests: list[Manifest]) -> dict[str, Any]:
    """Return what the Deployment says of each pod."""
    spec: dict[str, Any] = one(manifests, "Deployment")["spec"]["template"]["spec"]
    return spec


def container(manifests: list[Manifest]) -> dict[str, Any]:
    """Return the only container of each pod."""
    only: dict[str, Any] = pod(manifests)["containers"][0]
    return only
