"""Definitions of the custom resources that the chart may render, made from the operators' typed models.

The operators' own definitions are far larger and are not in any package. The models know every field and
its type, which is what an API server needs to refuse or to warn of a field that does not exist.
"""

from typing import Any

from cloudcoil.models.keda import v1alpha1
from cloudcoil.models.prometheus_operator import v1

from tests.chart.httproute import HTTPRoute

__all__ = ["MODELS", "definitions"]

MODELS: dict[str, Any] = {
    "ServiceMonitor": v1.ServiceMonitor,
    "PodMonitor": v1.PodMonitor,
    "PrometheusRule": v1.PrometheusRule,
    "ScaledObject": v1alpha1.ScaledObject,
    "HTTPRoute": HTTPRoute,
}

UNAPPROVED = {"api-approved.kubernetes.io": "unapproved, a stand-in for the tests"}
"""Without it an API server takes no definition in a group of Kubernetes's own."""

Schema = dict[str, Any]

_KEPT = ("type", "enum", "required", "pattern", "minLength", "maxLength", "minimum", "maximum")


def definitions() -> list[dict[str, Any]]:
    """Return a CustomResourceDefinition for each of the models."""
    return [_definition(kind, model) for kind, model in MODELS.items()]


def _definition(kind: str, model: Any) -> dict[str, Any]:
    document = model.model_json_schema(by_alias=True)
    group, version = model.gvk().api_version.split("/")
    plural = f"{kind.lower()}s"
    spec = _structural(document["properties"]["spec"], document["$defs"])
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}", "annotations": UNAPPROVED},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural, "singular": kind.lower(), "listKind": f"{kind}List"},
            "versions": [
                {
                    "name": version,
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}},
                }
            ],
        },
    }


def _structural(node: Schema, known: dict[str, Schema]) -> Schema:
    """Return a schema without references and alternatives, which is all that an API server takes."""
    if "$ref" in node:
        return _structural(known[node["$ref"].removeprefix("#/$defs/")], known)
    if "anyOf" in node:
        real = [one for one in node["anyOf"] if one.get("type") != "null"]
        if len(real) == 1:
            return _structural(real[0], known)
        if {one.get("type") for one in real} <= {"integer", "string"}:
            return {"x-kubernetes-int-or-string": True}
        return {"x-kubernetes-preserve-unknown-fields": True}
    kept: Schema = {key: node[key] for key in _KEPT if key in node}
    if "items" in node:
        kept["items"] = _structural(node["items"], known)
    if node.get("properties"):
        kept["properties"] = {name: _structural(one, known) for name, one in node["properties"].items()}
    elif isinstance(node.get("additionalProperties"), dict):
        kept["additionalProperties"] = _structural(node["additionalProperties"], known)
    elif node.get("type") == "object" or not kept:
        kept["x-kubernetes-preserve-unknown-fields"] = True
    return kept
