"""Which kinds the API server serves, and how it says so to who discovers it."""

from dataclasses import dataclass
from typing import Any, Final

__all__ = ["KUBERNETES", "Kind", "discovery", "kind_of"]

KUBERNETES: Final = "1.33"
"""The version that the server says it has, and whose schemas it goes by."""


@dataclass(frozen=True)
class Kind:
    """One resource of an API group.

    Attributes:
        version: Group and version, as in ``apiVersion``.
        parts: Subresources that other clients than a kubelet use, with the kind each of them has.
        custom: Its schema is not one of Kubernetes.
    """

    version: str
    name: str
    plural: str
    namespaced: bool = True
    parts: tuple[tuple[str, str], ...] = ()
    short: tuple[str, ...] = ()
    custom: bool = False

    @property
    def root(self) -> str:
        """Path below which its group and version is served."""
        return f"/{'apis' if '/' in self.version else 'api'}/{self.version}"


KINDS: Final = (
    Kind("v1", "Namespace", "namespaces", namespaced=False),
    Kind("v1", "Node", "nodes", namespaced=False),
    Kind("v1", "Pod", "pods", parts=(("eviction", "policy/v1/Eviction"),)),
    Kind("v1", "Event", "events"),
    Kind("v1", "Secret", "secrets"),
    Kind("v1", "ConfigMap", "configmaps"),
    Kind("v1", "LimitRange", "limitranges"),
    Kind("v1", "ResourceQuota", "resourcequotas"),
    Kind("v1", "Service", "services"),
    Kind("v1", "ServiceAccount", "serviceaccounts"),
    Kind("apps/v1", "Deployment", "deployments", parts=(("scale", "autoscaling/v1/Scale"),)),
    Kind("apps/v1", "ReplicaSet", "replicasets"),
    Kind("autoscaling/v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers", short=("hpa",)),
    Kind("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets"),
    Kind("networking.k8s.io/v1", "Ingress", "ingresses"),
    Kind("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies"),
    Kind("scheduling.k8s.io/v1", "PriorityClass", "priorityclasses", namespaced=False),
    Kind(
        "apiextensions.k8s.io/v1", "CustomResourceDefinition", "customresourcedefinitions", namespaced=False
    ),
    Kind("gateway.networking.k8s.io/v1", "HTTPRoute", "httproutes", custom=True),
    Kind("monitoring.coreos.com/v1", "PodMonitor", "podmonitors", custom=True),
    Kind("monitoring.coreos.com/v1", "ServiceMonitor", "servicemonitors", custom=True),
    Kind("monitoring.coreos.com/v1", "PrometheusRule", "prometheusrules", custom=True),
    Kind("keda.sh/v1alpha1", "ScaledObject", "scaledobjects", custom=True),
)
_VERSIONS: Final = tuple(dict.fromkeys(kind.version for kind in KINDS))
_ROOTS: Final = tuple(dict.fromkeys(kind.root for kind in KINDS))
_VERBS: Final = ["create", "delete", "get", "list", "patch", "update", "watch"]


def kind_of(root: str, plural: str) -> Kind | None:
    """Return the kind that is served there."""
    return next((kind for kind in KINDS if (kind.root, kind.plural) == (root, plural)), None)


def _resources(version: str) -> dict[str, Any]:
    resources: list[dict[str, Any]] = []
    for kind in KINDS:
        if kind.version == version:
            common = {"namespaced": kind.namespaced, "verbs": _VERBS, "singularName": ""}
            names = {"name": kind.plural, "kind": kind.name, "shortNames": list(kind.short)}
            resources.append({**common, **names})
            for part, what in kind.parts:
                group, number, name = what.split("/")
                whose = {"group": group, "version": number, "kind": name}
                resources.append({**common, **whose, "name": f"{kind.plural}/{part}"})
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": resources}


def _group(version: str) -> dict[str, Any]:
    name, _, number = version.partition("/")
    only = {"groupVersion": version, "version": number}
    return {"name": name, "versions": [only], "preferredVersion": only}


def _openapi(root: str) -> dict[str, Any]:
    """Say that the server validates fields itself: all that clients look for before they send something."""
    offered = [{"name": name, "in": "query"} for name in ("dryRun", "fieldManager", "fieldValidation")]
    paths = {}
    for kind in KINDS:
        if kind.root == root:
            group, _, version = kind.version.rpartition("/")
            named = {"group": group, "version": version, "kind": kind.name}
            middle = "/namespaces/{namespace}" if kind.namespaced else ""
            paths[f"{root}{middle}/{kind.plural}/{{name}}"] = {
                "patch": {"parameters": offered, "x-kubernetes-group-version-kind": named}
            }
    return {"openapi": "3.0.0", "info": {"title": "Kubernetes", "version": KUBERNETES}, "paths": paths}


def discovery() -> dict[str, dict[str, Any]]:
    """Return the documents of discovery by their paths."""
    major, _, minor = KUBERNETES.partition(".")
    groups = [_group(version) for version in _VERSIONS if "/" in version]
    return {
        "/version": {"major": major, "minor": minor, "gitVersion": f"v{KUBERNETES}.0"},
        "/api": {"kind": "APIVersions", "versions": ["v1"]},
        "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups},
        **{root: _resources(version) for root, version in zip(_ROOTS, _VERSIONS, strict=True)},
        "/openapi/v3": {"paths": {root[1:]: {"serverRelativeURL": f"/openapi/v3{root}"} for root in _ROOTS}},
        **{f"/openapi/v3{root}": _openapi(root) for root in _ROOTS},
    }
