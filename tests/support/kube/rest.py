"""What a request makes of the objects: shown, listed, created, replaced, patched, applied, scaled, deleted.

Merges and ownership are those of tests/chart/merging.py. Rules of this file: it does nothing that a real
API server was not seen to do (docs/howto/helm.md names the versions); it admits no pods under a policy and
sets no defaults but one pod.
"""

import copy
import json
from dataclasses import dataclass
from typing import Any

from tests.chart.merging import Conflict, Owners, applied, merged, strategic, updated
from tests.chart.protobuf import MAGIC, secret
from tests.support import yamlfast
from tests.support.kube.checks import Refused, must_be_valid
from tests.support.kube.kinds import kind_of
from tests.support.kube.paths import Place, is_selected
from tests.support.kube.store import Object, Store

__all__ = ["Request", "answer"]


@dataclass(frozen=True)
class Request:
    """One request.

    Attributes:
        query: Its parameters, each with all its values.
        content_type: Of the body; it says which kind of patch this is.
    """

    method: str
    place: Place
    query: dict[str, list[str]]
    content_type: str
    body: bytes

    def asked(self, name: str, default: str = "") -> str:
        """Return the first value of a parameter."""
        return self.query.get(name, [default])[0]

    def given(self) -> Object:
        """Return the body's object."""
        if self.body.startswith(MAGIC):
            return secret(self.body)
        found: Object = json.loads(self.body) if self.body.startswith(b"{") else yamlfast.load(self.body)
        return found


def answer(store: Store, request: Request) -> Object:
    """Do as a request says.

    Raises:
        Refused: As an API server refuses.
    """
    place, path = request.place, request.place.path
    with store.lock:
        if place.part == "scale":
            return _scaled(store, request)
        if place.name is None:
            return _listed(store, request) if request.method == "GET" else _created(store, request)
        if request.method == "GET":
            return _shown(store, path)
        if request.method == "DELETE":
            _shown(store, path)
            return store.delete(path) or {}
        return _changed(store, request)


def _shown(store: Store, path: str) -> Object:
    found = store.get(path)
    if found is None:
        plural, name = path.split("/")[-2:]
        raise Refused(404, "NotFound", f'{plural} "{name}" not found')
    return found


def _listed(store: Store, request: Request) -> Object:
    kind = kind_of(request.place.root, request.place.plural)
    assert kind is not None
    items = [one for one in store.below(request.place.folder) if is_selected(one, request.query)]
    metadata = {"resourceVersion": str(store.version)}
    return {"kind": f"{kind.name}List", "apiVersion": kind.version, "metadata": metadata, "items": items}


def _created(store: Store, request: Request) -> Object:
    given, place = request.given(), request.place
    metadata = given["metadata"]
    metadata["name"] = metadata.get("name") or f"{metadata['generateName']}x2x7k"
    if place.namespace:
        metadata.setdefault("namespace", place.namespace)
        _shown(store, f"/api/v1/namespaces/{place.namespace}")
    path = f"{place.folder}/{metadata['name']}"
    if store.get(path) is not None:
        raise Refused(409, "AlreadyExists", f"{metadata['name']} already exists")
    owners: Owners = {}
    updated({}, given, owners, (request.asked("fieldManager", "kubectl-create"), "Update", ""))
    return _kept(store, request, path, given, owners)


def _changed(store: Store, request: Request) -> Object:
    path, given = request.place.path, request.given()
    owners, manager = store.owners(path), request.asked("fieldManager", "unknown")
    if "apply-patch" in request.content_type:
        before = store.get(path) or {}
        before.get("metadata", {}).pop("managedFields", None)
        try:
            after = applied(before, given, owners, manager, request.asked("force") == "true")
        except Conflict as conflict:
            raise Refused(409, "Conflict", str(conflict)) from None
        return _kept(store, request, path, after, owners)
    live = _shown(store, path)
    live["metadata"].pop("managedFields", None)
    if request.method == "PUT":
        if given["metadata"].get("resourceVersion", "") not in {"", live["metadata"]["resourceVersion"]}:
            raise Refused(409, "Conflict", "the object has been modified")
        after = given
    elif "strategic" in request.content_type:
        after = strategic(live, given)
    else:
        after = _without_nulls(merged(live, given), given)
    after["metadata"].pop("managedFields", None)
    updated(live, after, owners, (manager, "Update", ""))
    return _kept(store, request, path, after, owners)


def _scaled(store: Store, request: Request) -> Object:
    path = request.place.path
    live = _shown(store, path)
    if request.method != "GET":
        live["metadata"].pop("managedFields", None)
        after = copy.deepcopy(live)
        after["spec"]["replicas"] = request.given()["spec"]["replicas"]
        owners = store.owners(path)
        updated(live, after, owners, (request.asked("fieldManager", "unknown"), "Update", "scale"))
        live = _kept(store, request, path, after, owners)
    metadata = {key: live["metadata"][key] for key in ("name", "namespace", "resourceVersion", "uid")}
    number = {"replicas": live["spec"]["replicas"]}
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": metadata,
        "spec": number,
        "status": number,
    }


def _kept(store: Store, request: Request, path: str, body: Object, owners: Owners) -> Object:
    """Keep an object that is valid, unless this is a dry run."""
    kind = kind_of(request.place.root, request.place.plural)
    assert kind is not None
    must_be_valid(body, kind)
    return body if "dryRun" in request.query else store.keep(path, body, owners)


def _without_nulls(after: Any, patch: Any) -> Any:
    for key, value in patch.items():
        if value is None:
            after.pop(key, None)
        elif isinstance(value, dict) and isinstance(after.get(key), dict):
            _without_nulls(after[key], value)
    return after
