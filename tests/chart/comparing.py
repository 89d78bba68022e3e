"""Compare what was asked for with what an API server has made of it."""

import copy
from typing import Any, Final

from tests.chart.apiserver import quantity
from tests.chart.rendering import Manifest

__all__ = ["missing_of", "normal"]

_OF_THE_SERVER: Final = (
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "managedFields",
    "selfLink",
)
_OF_A_HISTORY: Final = ("deployment.kubernetes.io/revision", "bascule/replicas")
"""Annotations that no rollback turns back: what they count or remember has happened."""
_ASSIGNED: Final = ("clusterIP", "clusterIPs", "nodePort")


def normal(manifest: Manifest, keep_replicas: bool) -> Manifest:
    """Return an object without what the server gives each one anew.

    Args:
        manifest: A live object.
        keep_replicas: Whether the number of pods is the release's, and not an autoscaler's.
    """
    result = copy.deepcopy(manifest)
    result.pop("status", None)
    metadata = result["metadata"]
    for key in _OF_THE_SERVER:
        metadata.pop(key, None)
    annotations = metadata.get("annotations", {})
    for key in _OF_A_HISTORY:
        annotations.pop(key, None)
    spec = result.get("spec", {})
    if manifest["kind"] == "Service" and spec.get("clusterIP") != "None":
        for key in _ASSIGNED:
            spec.pop(key, None)
    if manifest["kind"] == "Deployment" and not keep_replicas:
        spec.pop("replicas", None)
    return result


def missing_of(asked: Any, found: Any, path: str = "") -> list[str]:
    """Return what was asked for and is not there; what a server adds is no matter."""
    if isinstance(asked, dict) and isinstance(found, dict):
        return [
            text
            for key, value in asked.items()
            for text in missing_of(value, found.get(key), f"{path}.{key}")
            if value not in (None, {}, []) or key in found
        ]
    if isinstance(asked, list) and isinstance(found, list) and len(asked) == len(found):
        return [
            text
            for number, (one, other) in enumerate(zip(asked, found, strict=True))
            for text in missing_of(one, other, f"{path}[{number}]")
        ]
    if asked == found or (".resources." in path and quantity(asked) == quantity(found)):
        return []
    return [f"{path} is {found!r} instead of {asked!r}"]
