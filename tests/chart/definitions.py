"""Definitions of the custom resources that the chart may render, made from the operators' typed models.

The operators' own definitions are far larger and are not in any package. The models know every field and
its type, which is what an API server needs to refuse or to warn of a field that does not exist.
"""

import importlib
from functools import cache
from typing import Any

__all__ = ["KINDS", "definitions", "model"]

_MODULES = {
    "ServiceMonitor": "cloudcoil.models.prometheus_operator.v1",
    "PodMonitor": "cloudcoil.models.prometheus_operator.v1",
    "PrometheusRule": "cloudcoil.models.prometheus_operator.v1",
    "ScaledObject": "cloudcoil.models.keda.v1alpha1",
    "HTTPRoute": "tests.chart.httproute",
}
KINDS = tuple(_MODULES)
"""The custom resources that the chart may render."""

UNAPPROVED = {"api-approved.kubernetes.io": "unapproved, a stand-in for the tests"}
"""Without it an API server takes no definition in a group of Kubernetes's own."""

Schema = dict[str, Any]

_KEPT = ("type", "enum", "required", "pattern", "minLength", "maxLength", "minimum", "maximum")


def model(kind: str) -> Any:
    """Return the typed model of a kind; the first call takes seconds, for its package makes thousands."""
    return getattr(importlib.import_module(_MODULES[kind]), kind)


def definitions() -> list[dict[str, Any]]:
    """Return a CustomResourceDefinition for each of the kinds; they are for reading."""
    return [_definition(kind) for kind in KINDS]


@cache
def _definition(kind: str) -> dict[str, Any]:
    typed = model(kind)
    document = typed.model_json_schema(by_alias=True)
    group, version = typed.gvk().api_version.split("/")
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
