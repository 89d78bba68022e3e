"""As much of an API server as Helm and kubectl ask for the chart's kinds.

It keeps what it is given, after the strict schemas of one Kubernetes version and the rules of
tests/chart/apiserver.py, and merges as tests/chart/merging.py says. Rules of this file: it does nothing that
a real API server was not seen to do (docs/howto/helm.md names the versions); it admits no pods under a
policy, sets no defaults but one pod, and controls nothing.
"""

import copy
import itertools
import json
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import kubernetes_validate  # type: ignore[import-untyped]
import yaml

from tests.chart.apiserver import refusals
from tests.chart.merging import Conflict, Owners, applied, merged, notes, strategic, updated
from tests.chart.protobuf import MAGIC, secret
from tests.chart.rendering import Manifest

__all__ = ["cluster"]

_VERSION: Final = "1.33"
_KINDS: Final = {
    "v1": ("ConfigMap", "LimitRange", "Pod", "ResourceQuota", "Secret", "Service", "ServiceAccount"),
    "apps/v1": ("Deployment",),
    "autoscaling/v2": ("HorizontalPodAutoscaler",),
    "networking.k8s.io/v1": ("Ingress", "NetworkPolicy"),
    "policy/v1": ("PodDisruptionBudget",),
    "monitoring.coreos.com/v1": ("PodMonitor", "PrometheusRule", "ServiceMonitor"),
    "keda.sh/v1alpha1": ("ScaledObject",),
}
_CLUSTER_WIDE: Final = {
    "v1": ("Namespace",),
    "scheduling.k8s.io/v1": ("PriorityClass",),
    "apiextensions.k8s.io/v1": ("CustomResourceDefinition",),
}
_VERSIONS: Final = dict.fromkeys([*_KINDS, *_CLUSTER_WIDE])
_CUSTOM: Final = ("monitoring.coreos.com/v1", "keda.sh/v1alpha1")
_OBJECT: Final = re.compile(
    r"(?P<list>/(?:api|apis/[^/]+)/[^/]+(?:/namespaces/[^/]+)?/[a-z]+)(?:/(?P<name>[^/]+)(?:/(?P<sub>[a-z]+))?)?"
)


def _plural(kind: str) -> str:
    word = kind.lower()
    return f"{word[:-1]}ies" if word.endswith("y") else f"{word}es" if word.endswith("s") else f"{word}s"


def _base(version: str) -> str:
    return f"/{'apis' if '/' in version else 'api'}/{version}"


def _resources(version: str) -> dict[str, Any]:
    verbs = ["create", "delete", "get", "list", "patch", "update"]
    found: list[dict[str, Any]] = [
        {"name": _plural(kind), "namespaced": kinds is _KINDS, "kind": kind, "verbs": verbs}
        for kinds in (_KINDS, _CLUSTER_WIDE)
        for kind in kinds.get(version, ())
    ]
    if version == "apps/v1":
        scale = {
            "group": "autoscaling",
            "version": "v1",
            "kind": "Scale",
            "verbs": ["get", "patch", "update"],
        }
        found.append({"name": "deployments/scale", "namespaced": True, **scale})
    return {"kind": "APIResourceList", "groupVersion": version, "resources": found}


def _group(version: str) -> dict[str, Any]:
    name, _, number = version.partition("/")
    only = {"groupVersion": version, "version": number}
    return {"name": name, "versions": [only], "preferredVersion": only}


def _openapi(version: str) -> dict[str, Any]:
    """Say no more than that fields are validated by the server, which is all that clients look for."""
    group, _, number = version.rpartition("/")
    parameters = [{"name": name, "in": "query"} for name in ("dryRun", "fieldManager", "fieldValidation")]
    paths = {
        f"{_base(version)}/namespaces/{{namespace}}/{_plural(kind)}/{{name}}": {
            "patch": {
                "parameters": parameters,
                "x-kubernetes-group-version-kind": {"group": group, "version": number, "kind": kind},
            }
        }
        for kind in (*_KINDS.get(version, ()), *_CLUSTER_WIDE.get(version, ()))
    }
    return {"openapi": "3.0.0", "info": {"title": "Kubernetes", "version": _VERSION}, "paths": paths}


_DISCOVERY: Final[dict[str, dict[str, Any]]] = {
    "/version": {
        "major": _VERSION.partition(".")[0],
        "minor": _VERSION.partition(".")[2],
        "gitVersion": f"v{_VERSION}.0",
    },
    "/api": {"kind": "APIVersions", "versions": ["v1"]},
    "/apis": {
        "kind": "APIGroupList",
        "apiVersion": "v1",
        "groups": [_group(version) for version in _VERSIONS if "/" in version],
    },
    "/openapi/v3": {
        "paths": {
            _base(version)[1:]: {"serverRelativeURL": f"/openapi/v3{_base(version)}"} for version in _VERSIONS
        }
    },
    **{_base(version): _resources(version) for version in _VERSIONS},
    **{f"/openapi/v3{_base(version)}": _openapi(version) for version in _VERSIONS},
}


class Refusal(Exception):
    """An answer other than success."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.status: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "status": "Failure",
            "code": code,
            "reason": reason,
            "message": message,
        }


@dataclass
class Store:
    """The objects by path, and who owns what in them."""

    objects: dict[str, Manifest]
    owners: dict[str, Owners] = field(default_factory=dict)
    lock: Lock = field(default_factory=Lock)
    versions: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def answer(self, method: str, url: str, kind: str, body: bytes) -> dict[str, Any]:
        """Do as a request says.

        Raises:
            Refusal: As an API server refuses.
        """
        parts = urlsplit(url)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        if parts.path in _DISCOVERY:
            return _DISCOVERY[parts.path]
        found = _OBJECT.fullmatch(parts.path)
        if not found:
            raise Refusal(404, "NotFound", f"no path {parts.path}")
        given = secret(body) if body.startswith(MAGIC) else yaml.safe_load(body or b"{}")
        with self.lock:
            if not found["name"]:
                return (
                    self._all(found["list"], query)
                    if method == "GET"
                    else self._new(parts.path, query, given)
                )
            path = f"{found['list']}/{found['name']}"
            if found["sub"] == "scale":
                return self._scale(path, method, kind, query, given)
            if method == "GET":
                return self._shown(path)
            if method == "DELETE":
                self._shown(path)
                self.owners.pop(path, None)
                return self.objects.pop(path)
            return self._changed(path, method, kind, query, given)

    def _shown(self, path: str) -> Manifest:
        if path not in self.objects:
            raise Refusal(404, "NotFound", f"{path.rpartition('/')[2]} not found")
        shown = copy.deepcopy(self.objects[path])
        if owners := self.owners.get(path):
            shown["metadata"]["managedFields"] = notes(owners)
        return shown

    def _all(self, path: str, query: dict[str, str]) -> Manifest:
        wanted = dict(part.split("=") for part in query.get("labelSelector", "").split(",") if part)
        items = [
            self._shown(one)
            for one in list(self.objects)
            if one.rpartition("/")[0] == path
            and wanted.items() <= self.objects[one]["metadata"].get("labels", {}).items()
        ]
        # Helm lists nothing but the Secrets of its releases.
        return {"kind": "SecretList", "apiVersion": "v1", "metadata": {}, "items": items}

    def _new(self, path: str, query: dict[str, str], given: Manifest) -> Manifest:
        name = given["metadata"].get("name") or f"{given['metadata']['generateName']}x2x7k"
        given["metadata"]["name"] = name
        if f"{path}/{name}" in self.objects:
            raise Refusal(409, "AlreadyExists", f"{name} already exists")
        owners: Owners = {}
        updated({}, given, owners, (query.get("fieldManager", "kubectl-create"), "Update", ""))
        return self._kept(f"{path}/{name}", query, given, owners)

    def _changed(self, path: str, method: str, kind: str, query: dict[str, str], given: Manifest) -> Manifest:
        before = self.objects.get(path)
        owners = copy.deepcopy(self.owners.get(path, {}))
        manager = query.get("fieldManager", "unknown")
        if "apply-patch" in kind:
            try:
                after = applied(before or {}, given, owners, manager, query.get("force") == "true")
            except Conflict as conflict:
                raise Refusal(409, "Conflict", str(conflict)) from None
            return self._kept(path, query, after, owners)
        live = self._shown(path)
        live["metadata"].pop("managedFields", None)
        if method == "PUT":
            after = given
        elif "strategic" in kind:
            after = strategic(live, given)
        else:
            after = _without_nulls(merged(live, given), given)
        after["metadata"].pop("managedFields", None)
        updated(live, after, owners, (manager, "Update", ""))
        return self._kept(path, query, after, owners)

    def _scale(self, path: str, method: str, kind: str, query: dict[str, str], given: Any) -> Manifest:
        live = self._shown(path)
        if method != "GET":
            before = copy.deepcopy(live)
            live["spec"]["replicas"] = given["spec"]["replicas"]
            live["metadata"].pop("managedFields", None)
            owners = self.owners.setdefault(path, {})
            before["metadata"].pop("managedFields", None)
            updated(before, live, owners, (query.get("fieldManager", "unknown"), "Update", "scale"))
            self._kept(path, query, live, owners)
        metadata = {key: live["metadata"][key] for key in ("name", "namespace", "resourceVersion", "uid")}
        number = {"replicas": live["spec"]["replicas"]}
        return {"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata, "spec": number}

    def _kept(self, path: str, query: dict[str, str], given: Manifest, owners: Owners) -> Manifest:
        """Keep an object that is valid, unless this is a dry run."""
        if given["kind"] == "Deployment":
            given["spec"].setdefault("replicas", 1)
        _must_be_valid(given)
        before = self.objects.get(path)
        kept = copy.deepcopy(given)
        if kept["kind"] == "CustomResourceDefinition":
            kept["status"] = {"conditions": [{"type": "Established", "status": "True"}]}
        if before is None:
            kept["metadata"] |= {"uid": str(uuid.uuid4()), "creationTimestamp": "2026-01-01T00:00:00Z"}
        if before is None or kept != before:
            kept["metadata"]["resourceVersion"] = str(next(self.versions))
        if "dryRun" in query:
            return kept
        self.objects[path], self.owners[path] = kept, owners
        return self._shown(path)


def _without_nulls(after: Manifest, patch: Manifest) -> Manifest:
    for key, value in patch.items():
        if value is None:
            after.pop(key, None)
        elif isinstance(value, dict) and isinstance(after.get(key), dict):
            _without_nulls(after[key], value)
    return after


def _must_be_valid(manifest: Manifest) -> None:
    if why := refusals(manifest):
        raise Refusal(422, "Invalid", "; ".join(why))
    if manifest["apiVersion"] not in _CUSTOM:
        try:
            kubernetes_validate.validate(manifest, _VERSION, strict=True)
        except kubernetes_validate.ValidationError as error:
            raise Refusal(400, "BadRequest", str(error)) from None


@contextmanager
def cluster(objects: dict[str, Manifest], home: Path) -> Iterator[Path]:
    """Serve objects by path, and what clients make of them; yields a kubeconfig file."""
    store = Store(objects)

    class Handler(BaseHTTPRequestHandler):
        def do(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            code = 201 if self.command == "POST" else 200
            try:
                answer = store.answer(self.command, self.path, self.headers.get("Content-Type", ""), body)
            except Refusal as refusal:
                answer, code = refusal.status, refusal.code
            text = json.dumps(answer).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do

        def log_message(self, format: str, *args: object) -> None:
            """Keep quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_address[1]}"
    file = home / "kubeconfig"
    file.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "c", "cluster": {"server": address}}],
                "contexts": [{"name": "c", "context": {"cluster": "c", "user": ""}}],
                "current-context": "c",
            }
        ),
        encoding="utf-8",
    )
    file.chmod(0o600)
    try:
        yield file
    finally:
        server.shutdown()
        server.server_close()
