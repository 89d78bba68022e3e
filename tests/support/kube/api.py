"""The API server on a port: discovery, objects, what happens to them, and the way to a pod."""

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

from tests.support.kube.checks import Refused
from tests.support.kube.kinds import discovery, kind_of
from tests.support.kube.paths import Place, is_selected
from tests.support.kube.pod import Pod
from tests.support.kube.rest import Request, answer
from tests.support.kube.spdy import Connection
from tests.support.kube.store import Object, Store

__all__ = ["Cluster", "run_cluster"]

_DISCOVERY: Final = discovery()
_WATCH: Final = 30.0
"""Seconds without news after which a watch ends. Clients begin another."""


@dataclass
class Cluster:
    """A running API server.

    Attributes:
        kubeconfig: File for ``KUBECONFIG``.
        store: Its objects.
        pods: The processes behind the objects of kind Pod, by ``namespace/name``.
    """

    kubeconfig: Path
    store: Store = field(default_factory=Store)
    pods: dict[str, Pod] = field(default_factory=dict)

    def add(self, path: str, body: Object) -> None:
        """Put an object there as if somebody had made it before."""
        self.store.keep(path, body, {})


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or the body of each answer waits for the acknowledgement of its head
    cluster: Cluster

    def _serve(self) -> None:
        address = urlsplit(self.path)
        sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            if address.path in _DISCOVERY:
                self._answer(_DISCOVERY[address.path])
                return
            place = Place.of(address.path)
            if place is None or kind_of(place.root, place.plural) is None:
                raise Refused(404, "NotFound", f"nothing is served at {address.path}")
            query = parse_qs(address.query, keep_blank_values=True)
            kind = self.headers.get("Content-Type", "")
            self._do(Request(self.command, place, query, kind, sent))
        except Refused as no:
            self._answer(no.status, no.code)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve

    def _do(self, request: Request) -> None:
        place = request.place
        if place.plural == "pods" and place.part in {"log", "exec", "portforward", "eviction"}:
            self._reach(request)
        elif place.name is None and request.asked("watch") in {"1", "true"}:
            self._watch(request)
        else:
            self._answer(answer(self.cluster.store, request), 201 if self.command == "POST" else 200)

    def _watch(self, request: Request) -> None:
        if "sendInitialEvents" in request.query:  # clients list first where it is refused
            raise Refused(422, "Invalid", "sendInitialEvents is not offered here")
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Connection", "close")
        self.close_connection = True
        self.end_headers()
        since = int(request.asked("resourceVersion") or 0)
        seconds = min(_WATCH, float(request.asked("timeoutSeconds", str(_WATCH))))
        with suppress(OSError):  # who has seen enough leaves
            for event, body in self.cluster.store.watch(request.place.folder, since, seconds):
                if is_selected(body, request.query):
                    self.wfile.write(json.dumps({"type": event, "object": body}).encode() + b"\n")
                    self.wfile.flush()

    def _reach(self, request: Request) -> None:
        """Do what goes through the API server to a pod's kubelet."""
        place = request.place
        pod = self.cluster.pods.get(f"{place.namespace}/{place.name}")
        if pod is None:
            raise Refused(404, "NotFound", f'pods "{place.name}" not found')
        match place.part:
            case "log":
                seconds = request.asked("sinceSeconds")
                self._answer(pod.logged(int(seconds) if seconds else None))
            case "eviction":
                Thread(target=self._evict, args=(place, pod), daemon=True).start()
                self._answer({"kind": "Status", "apiVersion": "v1", "status": "Success"}, 201)
            case "portforward":
                pod.forward(self._upgraded("portforward.k8s.io"))
            case _:
                wanted = {name for name in ("stdin", "stdout", "stderr") if request.asked(name) == "true"}
                connection = self._upgraded("v4.channel.k8s.io")
                pod.execute(connection, request.query["command"], {"error", *wanted})

    def _evict(self, place: Place, pod: Pod) -> None:
        """Delete a pod as a kubelet does: its process ends first, in its own time."""
        pod.stop()
        self.cluster.pods.pop(f"{place.namespace}/{place.name}")
        self.cluster.store.delete(place.path)

    def _upgraded(self, protocol: str) -> Connection:
        if self.headers.get("Upgrade") != "SPDY/3.1":  # kubectl tries a WebSocket first, and then this
            raise Refused(400, "BadRequest", "only SPDY/3.1 is spoken here")
        offered = ", ".join(self.headers.get_all("X-Stream-Protocol-Version") or [])
        assert protocol in offered, offered
        self.send_response(101)
        self.send_header("Connection", "Upgrade")
        self.send_header("Upgrade", "SPDY/3.1")
        self.send_header("X-Stream-Protocol-Version", protocol)
        self.end_headers()
        self.close_connection = True
        return Connection(cast("BinaryIO", self.rfile), cast("BinaryIO", self.wfile))

    def _answer(self, body: Object | bytes, code: int = 200) -> None:
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
    cluster.kubeconfig.chmod(0o600)
    try:
        yield cluster
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
