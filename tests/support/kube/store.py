"""The objects of the cluster, by path, with their versions and a history for those who watch."""

import copy
import threading
import uuid
from collections.abc import Iterator
from typing import Any, Final

__all__ = ["Conflict", "Object", "Store"]

Object = dict[str, Any]

CREATED: Final = "2026-01-02T03:04:05Z"


class Conflict(Exception):
    """The object is there already, or has changed since it was read."""


class Store:
    """Objects by the path of their own: ``/api/v1/namespaces/a/pods/b``."""

    def __init__(self) -> None:
        self._objects: dict[str, Object] = {}
        self._history: list[tuple[str, str, Object]] = []
        self._changed = threading.Condition()

    @property
    def version(self) -> int:
        """The newest version that an object has."""
        return len(self._history)

    def get(self, path: str) -> Object | None:
        """Return an object."""
        return copy.deepcopy(self._objects.get(path))

    def below(self, folder: str) -> list[Object]:
        """Return the objects of a kind, in one namespace or, with its root as ``folder``, in all."""
        return [copy.deepcopy(one) for path, one in sorted(self._objects.items()) if _is_in(path, folder)]

    def create(self, path: str, body: Object) -> Object:
        """Keep a new object.

        Raises:
            Conflict: There is one already.
        """
        with self._changed:
            if path in self._objects:
                raise Conflict("already exists")
            metadata = body.setdefault("metadata", {})
            metadata |= {"uid": str(uuid.uuid4()), "creationTimestamp": CREATED}
            return self._keep("ADDED", path, body)

    def replace(self, path: str, body: Object) -> Object:
        """Keep another state of an object.

        Raises:
            Conflict: It names a version that is not the present one.
        """
        with self._changed:
            old = self._objects[path]["metadata"]
            metadata = body["metadata"]
            if metadata.get("resourceVersion") not in {None, "", old["resourceVersion"]}:
                raise Conflict("the object has been modified")
            metadata |= {key: old[key] for key in ("uid", "creationTimestamp")}
            if body.get("spec") != self._objects[path].get("spec"):
                metadata["generation"] = old.get("generation", 1) + 1
            return self._keep("MODIFIED", path, body)

    def delete(self, path: str) -> Object | None:
        """Forget an object; returns what it was."""
        with self._changed:
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

    def _keep(self, event: str, path: str, body: Object) -> Object:
        body["metadata"].setdefault("generation", 1)
        _roll_out(body)
        self._objects[path] = body
        self._tell(event, path, body)
        return copy.deepcopy(body)

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


def _roll_out(body: Object) -> None:
    """Say of a Deployment that all its pods are new and ready: nothing here takes time."""
    if body["kind"] == "Deployment":
        count = body["spec"].setdefault("replicas", 1)
        names = ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas")
        status = {"observedGeneration": body["metadata"]["generation"], **dict.fromkeys(names, count)}
        condition = {"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"}
        body["status"] = {**status, "conditions": [condition]}
