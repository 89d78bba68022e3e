"""What an API server refuses beyond its schemas.

A schema knows fields and types. The API server also validates values: names, labels, quantities that
belong together. These are its rules for the kinds that the chart renders, from kube-apiserver's
`validation` packages; a manifest that breaks one installs nowhere, and half an upgrade is worse than none.
"""

import re
from collections.abc import Iterator
from typing import Any

Manifest = dict[str, Any]

_LABEL = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
_DNS_1035 = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
_DNS_1123 = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_SUFFIXES = {
    "n": 1e-9,
    "u": 1e-6,
    "m": 1e-3,
    "": 1.0,
    "k": 1e3,
    "M": 1e6,
    "G": 1e9,
    "T": 1e12,
    "P": 1e15,
    "E": 1e18,
    "Ki": 2.0**10,
    "Mi": 2.0**20,
    "Gi": 2.0**30,
    "Ti": 2.0**40,
    "Pi": 2.0**50,
    "Ei": 2.0**60,
}
POD_SUFFIX = len("-") + 10 + len("-") + 5
"""What a ReplicaSet and a pod append to a Deployment's name."""


def quantity(text: object) -> float:
    """Return the number that a quantity such as ``500m`` or ``1Gi`` stands for."""
    found = re.fullmatch(r"([0-9.]+(?:[eE][-+]?[0-9]+)?)([A-Za-z]*)", str(text))
    assert found, text
    return float(found[1]) * _SUFFIXES[found[2]]


def refusals(manifest: Manifest) -> list[str]:
    """Return why an API server would refuse a manifest."""
    return [*_metadata(manifest), *_KINDS.get(manifest["kind"], lambda _: iter(()))(manifest)]


def _metadata(manifest: Manifest) -> Iterator[str]:
    metadata = manifest["metadata"]
    pattern = _DNS_1035 if manifest["kind"] == "Service" else _DNS_1123
    if not isinstance(metadata["name"], str) or not pattern.fullmatch(metadata["name"]):
        yield f"name {metadata['name']!r}"
    yield from _labels(metadata)


def _labels(metadata: dict[str, Any]) -> Iterator[str]:
    for key, value in metadata.get("labels", {}).items():
        if not isinstance(value, str) or not _LABEL.fullmatch(value):
            yield f"label {key}: {value!r}"
    for key, value in (metadata.get("annotations") or {}).items():
        if not isinstance(value, str):
            yield f"annotation {key}: {value!r}"


def _deployment(manifest: Manifest) -> Iterator[str]:
    spec = manifest["spec"]
    template = spec["template"]
    if spec.get("minReadySeconds", 0) >= spec.get("progressDeadlineSeconds", 600):
        yield "progressDeadlineSeconds not above minReadySeconds"
    yield from _labels(template["metadata"])
    if not spec["selector"]["matchLabels"].items() <= template["metadata"]["labels"].items():
        yield "selector does not match template labels"
    if len(manifest["metadata"]["name"]) + POD_SUFFIX > 63:
        yield "not refused, but the pods' names are cut"
    for constraint in template["spec"].get("topologySpreadConstraints", []):
        if constraint.get("labelSelector") is None:
            yield "not refused, but a spread constraint without a selector matches no pod"
    for container in template["spec"]["containers"]:
        ports = [port["containerPort"] for port in container.get("ports", ())]
        if len(set(ports)) < len(ports):
            yield "duplicate container port"
        resources = container.get("resources", {})
        limits = resources.get("limits", {})
        for name, request in resources.get("requests", {}).items():
            if name in limits and quantity(request) > quantity(limits[name]):
                yield f"{name} request {request} above its limit {limits[name]}"
        mounts = [mount["mountPath"] for mount in container.get("volumeMounts", ())]
        if len(set(mounts)) < len(mounts):
            yield "duplicate mount path"


def _autoscaler(manifest: Manifest) -> Iterator[str]:
    spec = manifest["spec"]
    if spec["minReplicas"] > spec["maxReplicas"]:
        yield "minReplicas above maxReplicas"


def _service(manifest: Manifest) -> Iterator[str]:
    spec = manifest["spec"]
    kind = spec.get("type", "ClusterIP")
    if kind == "ClusterIP" and "externalTrafficPolicy" in spec:
        yield "externalTrafficPolicy of a Service that only the cluster reaches"
    if kind == "ClusterIP" and any("nodePort" in port for port in spec["ports"]):
        yield "nodePort with type ClusterIP"
    if kind != "LoadBalancer" and {"loadBalancerClass", "loadBalancerSourceRanges"} & spec.keys():
        yield "a load balancer's field without one"
    if len(spec.get("ipFamilies", [])) > 1 and not spec.get("ipFamilyPolicy", "").endswith("DualStack"):
        yield "two families in a Service of one"


_KINDS = {"Deployment": _deployment, "Service": _service, "HorizontalPodAutoscaler": _autoscaler}
