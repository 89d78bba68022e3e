"""The first bytes of a connection, on the wire of a running proxy: nothing overtakes them, and nobody waits
in silence for ever.

The listener reads what came along and then gives the connection to aiohttp; what had been read must be taken
before anything that comes later.
"""

from __future__ import annotations

import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

from tests.support.bascule import RunningBascule, run_bascule
from tests.support.figures import Figures
from tests.support.rawclient import RawClient, connect, connected, upgrade
from tests.support.waiting import eventually

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator

    from tests.support.certificates import Certificate
    from tests.support.rawclient import Clients

pytestmark = pytest.mark.usefixtures("calm")

PATIENCE = 2.0
"""Seconds a connection may take for its head."""
MOST = 4
"""Connections that may be without one at once."""


class _Echo(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    seen: list[str]

    def do_POST(self) -> None:
        self.seen.append(self.path)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        self.seen.append(self.path)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def seen() -> list[str]:
    """What the upstream was asked for."""
    return []


@pytest.fixture(scope="module")
def upstream(seen: list[str]) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Echo", (_Echo,), {"seen": seen}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def silent() -> Iterator[str]:
    """An upstream that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture(scope="module", params=["plain", "tls"])
def bascule(
    request: pytest.FixtureRequest,
    upstream: str,
    silent: str,
    certificate: Certificate,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[RunningBascule]:
    config = {
        "routes": [
            {"name": "all", "path": "/", "upstream": upstream},
            {"name": "silent", "path": "/silent", "upstream": silent},
        ],
        "forwarders": {"count": 1},
        "limits": {"handshakeTimeout": f"{PATIENCE:g}s", "maxHandshakes": MOST},
    }
    if request.param == "tls":
        config["tls"] = certificate.block()
    with run_bascule(tmp_path_factory.mktemp("bascule"), config) as running:
        yield running


def _head(size: int, path: bytes = b"/upload") -> bytes:
    return b"POST %b HTTP/1.1\r\nHost: front\r\nContent-Length: %d\r\n\r\n" % (path, size)


@pytest.mark.parametrize("size", [1, 1000, 16_384, 60_000, 1_000_000])
@pytest.mark.parametrize("way", ["at once", "head first", "cut in the head", "byte by byte"])
def test_a_body_arrives_behind_the_head_it_belongs_to(
    bascule: RunningBascule, context: ssl.SSLContext | None, size: int, way: str
) -> None:
    body = bytes(range(256)) * (size // 256 + 1)
    head, body = _head(size), body[:size]
    whole = head + body
    cuts = {
        "at once": [len(whole)],
        "head first": [len(head), len(whole)],
        "cut in the head": [20, len(whole)],
        "byte by byte": [*range(1, len(head) + 40), len(whole)],
    }[way]
    for _ in range(3):  # it was a race
        with connected(bascule.public_url, context) as client:
            begin = 0
            for end in cuts:
                client.send(whole[begin:end])
                begin = end
            answer = client.answer()
            assert (answer.status, answer.body) == (200, body)


def test_what_is_in_a_body_is_never_a_request(
    bascule: RunningBascule, context: ssl.SSLContext | None, seen: list[str]
) -> None:
    smuggled = b"GET /smuggled HTTP/1.1\r\nHost: front\r\n\r\n"
    for padding in (16_384 - len(_head(50_000)), 16_384, 30_000):
        body = (b"x" * padding + smuggled).ljust(50_000, b"y")
        with connected(bascule.public_url, context) as client:
            client.send(_head(50_000, b"/honest") + body)
            answer = client.answer()
            assert (answer.status, answer.body) == (200, body)
            client.send(b"GET /next HTTP/1.1\r\nHost: front\r\n\r\n")
            assert client.answer().status == 200
    assert "/smuggled" not in seen
    assert "/next" in seen


@pytest.mark.parametrize("lines", [b"\r\n", b"\r\n\r\n", b"\r\n" * 100])
@pytest.mark.parametrize("cut", [0, 1, 3])
def test_empty_lines_in_front_of_a_request_are_passed_over(
    bascule: RunningBascule, context: ssl.SSLContext | None, lines: bytes, cut: int
) -> None:
    with connected(bascule.public_url, context) as client:
        for request in (_head(3) + b"abc", upgrade(b"/any")):
            client.send((lines + request)[:cut])
            client.send((lines + request)[cut:])
            assert client.answer().status == 200


def _over(client: RawClient) -> bool:
    """Tell whether a connection has been ended, without waiting."""
    client.socket.settimeout(0.01)
    try:
        return not client.receive()
    except TimeoutError:
        return False


def test_a_connection_without_a_whole_head_is_ended_in_time(
    bascule: RunningBascule, context: ssl.SSLContext | None, clients: Clients
) -> None:
    # Not a wholly silent one: the kernel keeps that to itself (TCP_DEFER_ACCEPT), but for TLS, where the
    # handshake has been said.
    client = clients(bascule.public_url, context)
    client.send(b"" if context else b"G")
    eventually(lambda: _over(client), PATIENCE + 5, "it is ended")


def test_a_tls_handshake_that_stops_half_way_is_ended_in_time(
    bascule: RunningBascule, clients: Clients
) -> None:
    client = clients(bascule.public_url)
    client.send(b"\x16\x03\x01\x02\x00\x01")  # the beginning of a ClientHello; no HTTP either
    eventually(lambda: _over(client), PATIENCE + 5, "it is ended")


def test_silent_connections_keep_nobody_out(
    bascule: RunningBascule, context: ssl.SSLContext | None, clients: Clients
) -> None:
    silent = [clients(bascule.public_url, context) for _ in range(3 * MOST)]
    for client in silent:
        client.send(b"G")
    with connected(bascule.public_url, context) as client:
        client.send(_head(3) + b"abc")
        assert client.answer().body == b"abc"
    eventually(lambda: sum(map(_over, silent)) >= 2 * MOST - 1, 5, "those that waited longest are ended")


def test_a_browser_that_leaves_while_its_upstream_is_dialled_gives_its_slot_back(
    bascule: RunningBascule, context: ssl.SSLContext | None, clients: Clients
) -> None:
    figures = Figures(bascule)
    stays, leaves = (clients(bascule.public_url, context) for _ in range(2))
    for client in (stays, leaves):
        client.send(upgrade(b"/silent"))
    eventually(lambda: bascule.in_flight == 2, 5, "both hold a slot")
    leaves.close()
    eventually(lambda: bascule.in_flight == 1, 5, "one is given back")
    stays.close()
    eventually(lambda: bascule.in_flight == 0, 5, "and the other")
    figures.settle({'bascule_refusals_total{reason="gone"}': 2})


def test_a_client_that_is_in_no_hurry_between_requests_is_kept(
    bascule: RunningBascule, context: ssl.SSLContext | None
) -> None:
    client = connect(bascule.public_url, context)
    try:
        for _ in range(2):
            client.send(_head(3) + b"abc")
            assert client.answer().status == 200
            assert client.silent(1.25 * PATIENCE)
    finally:
        client.close()
