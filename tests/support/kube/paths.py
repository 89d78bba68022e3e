"""Paths of the API, and what a selector in a query selects."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.support.kube.store import Object

__all__ = ["Place", "is_selected"]


@dataclass(frozen=True)
class Place:
    """A path of the API, taken apart."""

    root: str
    namespace: str | None
    plural: str
    name: str | None
    part: str | None

    @classmethod
    def of(cls, path: str) -> "Place":
        """Take a path apart."""
        words = path.strip("/").split("/")
        cut = 2 if words[0] == "api" else 3
        root, rest = "/" + "/".join(words[:cut]), words[cut:]
        namespace = None
        if rest[:1] == ["namespaces"] and len(rest) > 2:
            namespace, rest = rest[1], rest[2:]
        plural, name, part, *_ = [*rest, None, None, None]
        return cls(root, namespace, str(plural), name, part)

    @property
    def folder(self) -> str:
        """Path of all of this kind, in this namespace or, without one, in all."""
        middle = f"/namespaces/{self.namespace}" if self.namespace else ""
        return f"{self.root}{middle}/{self.plural}"


def is_selected(body: Object, query: Mapping[str, list[str]]) -> bool:
    """Say whether an object has the labels and the fields that a query asks for."""
    labels = body["metadata"].get("labels") or {}
    return all(_matches(labels, text) for text in query.get("labelSelector", [])) and all(
        _matches(_flat(body), text) for text in query.get("fieldSelector", [])
    )


def _matches(values: Mapping[str, Any], selector: str) -> bool:
    for term in filter(None, selector.split(",")):
        key, _, value = term.replace("==", "=").partition("=")
        if key.endswith("!"):
            if values.get(key[:-1]) == value:
                return False
        elif str(values.get(key)) != value:
            return False
    return True


def _flat(body: Object) -> dict[str, Any]:
    names = {f"metadata.{key}": value for key, value in body["metadata"].items()}
    names |= {f"spec.{key}": value for key, value in body.get("spec", {}).items()}
    return names | {f"involvedObject.{key}": value for key, value in body.get("involvedObject", {}).items()}
