"""Paths of the API, and what a selector in a query selects."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from tests.support.kube.store import Object

__all__ = ["Place", "is_selected"]

_OBJECT: Final = re.compile(
    r"(?P<root>/api/v1|/apis/[^/]+/[^/]+)(?:/namespaces/(?P<namespace>[^/]+)(?=/))?"
    r"/(?P<plural>[a-z]+)(?:/(?P<name>[^/]+)(?:/(?P<part>[a-z]+))?)?"
)


@dataclass(frozen=True)
class Place:
    """A path of the API, taken apart."""

    root: str
    namespace: str | None
    plural: str
    name: str | None
    part: str | None

    @classmethod
    def of(cls, path: str) -> "Place | None":
        """Take a path apart; ``None`` is one that leads to no object."""
        found = _OBJECT.fullmatch(path)
        return cls(*found.group("root", "namespace", "plural", "name", "part")) if found else None

    @property
    def folder(self) -> str:
        """Path of all of this kind, in this namespace or, without one, in all."""
        middle = f"/namespaces/{self.namespace}" if self.namespace else ""
        return f"{self.root}{middle}/{self.plural}"

    @property
    def path(self) -> str:
        """Path of the object, without its part."""
        return f"{self.folder}/{self.name}"


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
