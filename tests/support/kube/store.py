"""The objects of the cluster, by path, who owns what in them, and a history for those who watch."""

import copy
import threading
import uuid
from collections.abc import Iterator
from typing import Any, Final

from tests.chart.merging import Owners, notes

__all__ = ["Object", "Store"]

Object = dict[str, Any]

CREATED: Final = "2026-01-02T03:04:05Z"


class Store:
    """Objects by the path of their own: ``/api/v1/namespaces/a/pods/b``."""

    def __init__(self) -> None:
        self._objects: dict[str, Object] = {}
        self._owners: dict[str, Owners] = {}
        self._history: list[tuple[str, str, Object]] = []
        self._changed = threading.Condition(threading.RLock())

    @property
    def lock(self) -> threading.Condition:
        """Held while an object is read, changed and kept."""
        return self._changed

    @property
    def version(self) -> int:
        """The newest version that an object has."""
        return len(self._history)

    def get(self, path: str) -> Object | None:
        """Return an object as clients see it."""
        found = copy.deepcopy(self._objects.get(path))
        if found is not None and (owners := self._owners.get(path)):
            found["metadata"]["managedFields"] = notes(owners)
        return found

    def owners(self, path: str) -> Owners:
        """Return who owns what in an object."""
        return copy.deepcopy(self._owners.get(path, {}))

    def below(self, folder: str) -> list[Object]:
        """Return the objects of a kind, in one namespace or, with its root as ``folder``, in all."""
        return [one for path in sorted(self._objects) if _is_in(path, folder) and (one := self.get(path))]

    def keep(self, path: str, body: Object, owners: Owners) -> Object:
        """Keep an object that is new, or another state of one; returns it as clients see it."""
        with self._changed:
            old = self._objects.get(path)
            body = copy.deepcopy(body)
            metadata = body["metadata"]
            if old is None:
                metadata |= {"uid": str(uuid.uuid4()), "creationTimestamp": CREATED, "generation": 1}
            else:
                kept = ("uid", "creationTimestamp", "generation", "resourceVersion")
                metadata |= {key: old["metadata"][key] for key in kept if key in old["metadata"]}
                if "status" in old:
                    body.setdefault("status", old["status"])
                if body.get("spec") != old.get("spec"):
                    metadata["generation"] = metadata.get("generation", 1) + 1
            _control(body)
            self._owners[path] = owners
            if body != old:
                self._objects[path] = body
                self._tell("MODIFIED" if old else "ADDED", path, body)
            shown = self.get(path)
            assert shown is not None
            return shown

    def delete(self, path: str) -> Object | None:
        """Forget an object; returns what it was."""
        with self._changed:
            self._owners.pop(path, None)
            gone = self._objects.pop(path, None)
            if gone is not None:
                self._tell("DELETED", path, gone)
            return gone

    def watch(self, folder: str, since: int, seconds: float) -> Iterator[tuple[str, Object]]:
        """Yield what happens below a folder after a version, until nothing did for so long."""
        while True:
            with self._changed:
                if self.version <= since and not self._changed.wait(seconds):
                    return
                news, since = self._history[since:], self.version
            for event, path, body in news:
                if _is_in(path, folder):
                    yield event, body

    def _tell(self, event: str, path: str, body: Object) -> None:
        body["metadata"]["resourceVersion"] = str(self.version + 1)
        self._history.append((event, path, copy.deepcopy(body)))
        self._changed.notify_all()


def _is_in(path: str, folder: str) -> bool:
    """Say whether a path is in a folder; ``/api/v1/pods`` is that of all namespaces."""
    if path.startswith(f"{folder}/"):
        return "/" not in path.removeprefix(f"{folder}/")
    root, _, plural = folder.rpartition("/")
    return path.startswith(f"{root}/namespaces/") and path.split("/")[-2] == plural


def _control(body: Object) -> None:
    """Say what controllers would: a Deployment is rolled out and a definition served, at once."""
    if body["kind"] == "Deployment":
        count = body["spec"].setdefault("replicas", 1)
        names = ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas")
        status = {
            "observedGeneration": body["metadata"].get("generation", 1),
            **dict.fromkeys(names, count),
        }
        condition = {"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"}
        body["status"] = {**status, "conditions": [condition]}
    elif body["kind"] == "CustomResourceDefinition":
        body["status"] = {"conditions": [{"type": "Established", "status": "True"}]}
