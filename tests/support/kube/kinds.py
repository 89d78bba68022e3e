"""Which kinds the API server serves, and how it says so to who discovers it."""

from dataclasses import dataclass
from typing import Any, Final

__all__ = ["KINDS", "discovery", "kind_of"]


@dataclass(frozen=True)
class Kind:
    """One resource of an API group."""

    version: str
    name: str
    plural: str
    namespaced: bool = True
    scalable: bool = False
    short: tuple[str, ...] = ()

    @property
    def root(self) -> str:
        """Path below which its group and version is served."""
        return f"/{'apis' if '/' in self.version else 'api'}/{self.version}"


KINDS: Final = (
    Kind("v1", "Namespace", "namespaces", namespaced=False),
    Kind("v1", "Node", "nodes", namespaced=False),
    Kind("v1", "Pod", "pods"),
    Kind("v1", "Event", "events"),
    Kind("v1", "Secret", "secrets"),
    Kind("v1", "ConfigMap", "configmaps"),
    Kind("v1", "Service", "services"),
    Kind("v1", "ServiceAccount", "serviceaccounts"),
    Kind("apps/v1", "Deployment", "deployments", scalable=True),
    Kind("autoscaling/v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers", short=("hpa",)),
    Kind("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets"),
    Kind("networking.k8s.io/v1", "Ingress", "ingresses"),
    Kind("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies"),
    Kind("monitoring.coreos.com/v1", "PodMonitor", "podmonitors"),
    Kind("monitoring.coreos.com/v1", "ServiceMonitor", "servicemonitors"),
    Kind("monitoring.coreos.com/v1", "PrometheusRule", "prometheusrules"),
)

_VERBS: Final = ["create", "delete", "get", "list", "patch", "update", "watch"]


def kind_of(root: str, plural: str) -> Kind | None:
    """Return the kind that is served there."""
    return next((kind for kind in KINDS if (kind.root, kind.plural) == (root, plural)), None)


def _resources(version: str) -> dict[str, Any]:
    resources = []
    for kind in KINDS:
        if kind.version != version:
            continue
        common = {"namespaced": kind.namespaced, "verbs": _VERBS}
        resources.append(
            {
                "name": kind.plural,
                "kind": kind.name,
                "shortNames": list(kind.short),
                "singularName": "",
                **common,
            }
        )
        if kind.plural == "pods":
            eviction = {"kind": "Eviction", "group": "policy", "version": "v1", "singularName": ""}
            resources.append({"name": "pods/eviction", **eviction, **common})
        if kind.scalable:
            scale = {"kind": "Scale", "group": "autoscaling", "version": "v1", "singularName": ""}
            resources.append({"name": f"{kind.plural}/scale", **scale, **common})
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": resources}


def _group(version: str) -> dict[str, Any]:
    name, _, number = version.partition("/")
    only = {"groupVersion": version, "version": number}
    return {"name": name, "versions": [only], "preferredVersion": only}


def discovery(kubernetes: str) -> dict[str, dict[str, Any]]:
    """Return the documents of discovery by their paths.

    Args:
        kubernetes: Version of the server, such as ``1.33``.
    """
    versions = sorted({kind.version for kind in KINDS})
    roots = sorted({kind.root for kind in KINDS})
    major, _, minor = kubernetes.partition(".")
    groups = [_group(version) for version in versions if "/" in version]
    return {
        "/version": {"major": major, "minor": minor, "gitVersion": f"v{kubernetes}.0"},
        "/api": {"kind": "APIVersions", "versions": ["v1"]},
        "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups},
        **{f"/{'apis' if '/' in version else 'api'}/{version}": _resources(version) for version in versions},
        "/openapi/v3": {"paths": {root[1:]: {"serverRelativeURL": f"/openapi/v3{root}"} for root in roots}},
        **{f"/openapi/v3{root}": _openapi(root) for root in roots},
    }


def _openapi(root: str) -> dict[str, Any]:
    """Say that the server validates fields itself: all that clients look for before they send something."""
    offered = [{"name": name, "in": "query"} for name in ("dryRun", "fieldValidation")]
    paths = {}
    for kind in KINDS:
        if kind.root == root:
            group, _, version = kind.version.rpartition("/")
            named = {"group": group, "version": version, "kind": kind.name}
            patch = {"parameters": offered, "x-kubernetes-group-version-kind": named}
            middle = "/namespaces/{namespace}" if kind.namespaced else ""
            paths[f"{root}{middle}/{kind.plural}/{{name}}"] = {"patch": patch}
    return {"openapi": "3.0.0", "info": {"title": "Kubernetes", "version": "0"}, "paths": paths}
