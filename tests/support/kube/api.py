"""The API server: objects by REST, as kubectl and Helm ask for them, and the way to a pod.

Strict where it matters to a manifest: an unknown field, a schema's violation and a value that
`tests.chart.apiserver` knows to be refused are answered with 422, a stale version with 409.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import BinaryIO, Final, cast
from urllib.parse import parse_qs, urlsplit

import yaml

from tests.support.kube.checks import KUBERNETES, Refused, reasons_against
from tests.support.kube.kinds import discovery, kind_of
from tests.support.kube.patches import merged, strategically_merged
from tests.support.kube.paths import Place, is_selected
from tests.support.kube.pod import Pod
from tests.support.kube.protobuf import MAGIC, secret
from tests.support.kube.spdy import Connection
from tests.support.kube.store import Conflict, Object, Store

__all__ = ["Cluster", "run_cluster"]

_WATCH: Final = 30.0
"""Seconds without news after which a watch ends. Clients begin another."""


@dataclass
class Cluster:
    """A running API server.

    Attributes:
        kubeconfig: File for ``KUBECONFIG``.
        store: Its objects.
        pods: The processes behind the objects of kind Pod, by ``namespace/name``.
        asked: Every request, such as ``GET /api``.
    """

    kubeconfig: Path
    store: Store = field(default_factory=Store)
    pods: dict[str, Pod] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def add(self, path: str, body: Object) -> None:
        """Put an object there as if somebody had made it before."""
        self.store.create(path, body)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    cluster: Cluster

    def _serve(self) -> None:
        address = urlsplit(self.path)
        self.cluster.asked.append(f"{self.command} {self.path}")
        self._query = parse_qs(address.query, keep_blank_values=True)
        length = int(self.headers.get("Content-Length") or 0)
        self._sent = self.rfile.read(length)
        try:
            self._route(address.path)
        except Refused as no:
            self._answer(no.status, no.code)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve

    def _route(self, path: str) -> None:
        known = discovery(KUBERNETES).get(path)
        if known is not None:
            self._answer(known)
            return
        if path.count("/") < 3 or not path.startswith(("/api/", "/apis/")):
            raise Refused(404, "NotFound", f"nothing is served at {path}")
        place = Place.of(path)
        if kind_of(place.root, place.plural) is None:
            raise Refused(404, "NotFound", f"no kind is served at {path}")
        if place.plural == "pods" and place.part in {"log", "exec", "portforward"}:
            self._reach(place)
        elif place.part == "scale":
            self._scale(place)
        elif place.part == "eviction":
            self._evict(place)
        elif place.name is None:
            self._list(place) if self.command == "GET" else self._create(place)
        else:
            self._one(place)

    # Objects.

    def _found(self, place: Place) -> Object:
        found = self.cluster.store.get(f"{place.folder}/{place.name}")
        if found is None:
            raise Refused(404, "NotFound", f'{place.plural} "{place.name}" not found')
        return found

    def _list(self, place: Place) -> None:
        if "sendInitialEvents" in self._query:
            raise Refused(422, "Invalid", "sendInitialEvents is not offered here")
        if self._query.get("watch", ["0"])[0] in {"1", "true"}:
            self._watch(place)
            return
        kind = kind_of(place.root, place.plural)
        assert kind is not None
        items = [one for one in self.cluster.store.below(place.folder) if is_selected(one, self._query)]
        metadata = {"resourceVersion": str(self.cluster.store.version)}
        self._answer(
            {"kind": f"{kind.name}List", "apiVersion": kind.version, "metadata": metadata, "items": items}
        )

    def _watch(self, place: Place) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Connection", "close")
        self.close_connection = True
        self.end_headers()
        since = int(self._query.get("resourceVersion", ["0"])[0] or 0)
        seconds = min(_WATCH, float(self._query.get("timeoutSeconds", [str(_WATCH)])[0]))
        with suppress(OSError):  # who has seen enough leaves
            for event, body in self.cluster.store.watch(place.folder, since, seconds):
                if is_selected(body, self._query):
                    self.wfile.write(json.dumps({"type": event, "object": body}).encode() + b"\n")
                    self.wfile.flush()

    def _create(self, place: Place) -> None:
        body = self._body()
        name = body["metadata"]["name"]
        if place.namespace:
            body["metadata"].setdefault("namespace", place.namespace)
            if self.cluster.store.get(f"/api/v1/namespaces/{place.namespace}") is None:
                raise Refused(404, "NotFound", f'namespaces "{place.namespace}" not found')
        self._keep(place, name, body, new=True)

    def _one(self, place: Place) -> None:
        path = f"{place.folder}/{place.name}"
        match self.command:
            case "GET":
                self._answer(self._found(place))
            case "DELETE":
                self._found(place)
                self._answer(self.cluster.store.delete(path))
            case "PUT":
                self._found(place)
                self._keep(place, place.name, self._body())
            case _:
                self._patch(place)

    def _patch(self, place: Place) -> None:
        patch = yaml.safe_load(self._sent)
        match self.headers["Content-Type"]:
            case "application/apply-patch+yaml":
                if self.cluster.store.get(f"{place.folder}/{place.name}") is None:
                    patch["metadata"].setdefault("namespace", place.namespace)
                    self._keep(place, place.name, patch, new=True)
                    return
                body = merged(self._found(place), patch)
            case "application/strategic-merge-patch+json":
                body = strategically_merged(self._found(place), patch)
            case _:
                body = merged(self._found(place), patch)
        self._keep(place, place.name, body)

    def _keep(self, place: Place, name: str | None, body: Object, *, new: bool = False) -> None:
        if reasons := reasons_against(body):
            raise Refused(422, "Invalid", f'{body["kind"]} "{name}" is invalid: {"; ".join(reasons)}')
        path = f"{place.folder}/{name}"
        if self._query.get("dryRun"):
            self._answer(body)
            return
        try:
            kept = self.cluster.store.create(path, body) if new else self.cluster.store.replace(path, body)
        except Conflict as conflict:
            raise Refused(409, "AlreadyExists" if new else "Conflict", str(conflict)) from None
        self._answer(kept, 201 if new else 200)

    def _scale(self, place: Place) -> None:
        found = self._found(place)
        if self.command != "GET":
            scale = yaml.safe_load(self._sent)
            found["spec"]["replicas"] = scale["spec"]["replicas"]
            found = self.cluster.store.replace(f"{place.folder}/{place.name}", found)
        count = {"replicas": found["spec"]["replicas"]}
        names = ("name", "namespace", "resourceVersion", "uid")
        metadata = {key: found["metadata"][key] for key in names}
        self._answer(
            {
                "kind": "Scale",
                "apiVersion": "autoscaling/v1",
                "metadata": metadata,
                "spec": count,
                "status": count,
            }
        )

    def _body(self) -> Object:
        if self._sent.startswith(MAGIC):
            return secret(self._sent)
        return cast("Object", yaml.safe_load(self._sent))

    # Pods.

    def _evict(self, place: Place) -> None:
        """Delete a pod as the kubelet does: its process ends first, in its own time."""
        self._found(place)
        pod = self.cluster.pods.pop(f"{place.namespace}/{place.name}")

        def end() -> None:
            pod.stop()
            self.cluster.store.delete(f"{place.folder}/{place.name}")

        Thread(target=end, daemon=True).start()
        self._answer({"kind": "Status", "apiVersion": "v1", "status": "Success"}, 201)

    def _reach(self, place: Place) -> None:
        self._found(place)
        pod = self.cluster.pods[f"{place.namespace}/{place.name}"]
        if place.part == "log":
            seconds = self._query.get("sinceSeconds")
            self._answer(pod.logged(int(seconds[0]) if seconds else None))
            return
        if self.headers.get("Upgrade") != "SPDY/3.1":  # kubectl tries a WebSocket first, and then this
            raise Refused(400, "BadRequest", "only SPDY/3.1 is spoken here")
        offered = self.headers.get_all("X-Stream-Protocol-Version") or []
        self.send_response(101)
        self.send_header("Connection", "Upgrade")
        self.send_header("Upgrade", "SPDY/3.1")
        chosen = "portforward.k8s.io" if place.part == "portforward" else "v4.channel.k8s.io"
        assert chosen in ", ".join(offered), offered
        self.send_header("X-Stream-Protocol-Version", chosen)
        self.end_headers()
        self.close_connection = True
        connection = Connection(cast("BinaryIO", self.rfile), cast("BinaryIO", self.wfile))
        if place.part == "portforward":
            pod.forward(connection)
        else:
            wanted = {name for name in ("stdin", "stdout", "stderr") if self._query.get(name) == ["true"]}
            pod.execute(connection, self._query["command"], {"error", *wanted})

    def _answer(self, body: object, code: int = 200) -> None:
        text = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", "text/plain" if text is body else "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *args: object) -> None:
        """Keep quiet."""


@contextmanager
def run_cluster(home: Path) -> Iterator[Cluster]:
    """Serve an empty cluster from this process; its ``KUBECONFIG`` is a file below ``home``."""
    cluster = Cluster(home / "kubeconfig")
    handler = type("Handler", (_Handler,), {"cluster": cluster})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    address = f"http://127.0.0.1:{server.server_address[1]}"
    cluster.kubeconfig.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "c",
                "clusters": [{"name": "c", "cluster": {"server": address}}],
                "contexts": [{"name": "c", "context": {"cluster": "c", "user": ""}}],
            }
        ),
        encoding="utf-8",
    )
    try:
        yield cluster
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
