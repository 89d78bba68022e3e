"""Connections that a load balancer passes on, and says whose they are in front of them."""

from __future__ import annotations

import ipaddress
import socket
import ssl
import struct
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from tests.support.rawclient import RawClient, upgrade
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import Start
    from tests.support.bascule import RunningBascule
    from tests.support.certificates import Certificate
    from tests.support.rawclient import Clients
    from tests.support.rawupstream import Call, RawUpstream

    Balanced = Callable[..., RunningBascule]

CLIENT = b"203.0.113.7"
LINE = b"PROXY TCP4 203.0.113.7 198.51.100.1 56324 443\r\n"
SPEAKS_FOR_ITSELF = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"
GET = b"GET /page HTTP/1.1\r\nHost: front\r\n\r\n"


def version_2(client: bytes, *, by_tls: bool) -> bytes:
    """Build a header as HAProxy's ``send-proxy-v2-ssl`` does."""
    addresses = ipaddress.ip_address(client.decode()).packed + bytes(4) + struct.pack("!HH", 56324, 443)
    body = addresses + b"\x20\0\x05" + bytes([by_tls, 0, 0, 0, 0])
    return b"\r\n\r\n\0\r\nQUIT\n\x21\x11" + struct.pack("!H", len(body)) + body


def page(call: Call) -> None:
    """Answer as many requests as come on a connection, and note whose they are."""
    call.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")


@pytest.fixture
def balanced(bascule: Start, upstream: RawUpstream) -> Balanced:
    """Start a proxy that is told of clients by whoever comes from 127.0.0.1."""
    upstream.scripts[b"/page"] = page
    upstream.calls.clear()

    def start(**config: Any) -> RunningBascule:
        routes = [{"name": "all", "path": "/", "upstream": upstream.url}]
        announced = {"routes": routes, "forwarders": {"count": 1}, "proxyProtocolFrom": ["127.0.0.1"]}
        return bascule({**announced, **config})

    return start


def from_elsewhere(bascule: RunningBascule) -> RawClient:
    """Connect from an address whose headers are not believed."""
    where = urlsplit(bascule.public_url)
    assert where.hostname is not None
    return RawClient(
        socket.create_connection((where.hostname, where.port or 0), 10, source_address=("127.0.0.2", 0))
    )


@pytest.mark.parametrize("header", [LINE, version_2(CLIENT, by_tls=False)], ids=["line", "binary"])
@pytest.mark.parametrize("at_once", [1, 1000])
def test_the_client_of_a_session_is_whom_the_header_names(
    balanced: Balanced, upstream: RawUpstream, clients: Clients, header: bytes, at_once: int
) -> None:
    bascule = balanced()
    client = clients(bascule.public_url)
    request = header + upgrade(b"/lab")
    for begin in range(0, len(request), at_once):
        client.send(request[begin : begin + at_once])
    assert client.head().status == 101
    (call,) = upstream.calls
    assert call.value(b"X-Forwarded-For") == CLIENT
    assert call.value(b"X-Real-IP") == CLIENT
    assert call.value(b"X-Forwarded-Proto") == b"http"
    (session,) = bascule.sessions()
    assert session["client"] == CLIENT.decode()
    client.say(b"hello")
    assert client.reply().payload == b"hello"


def test_every_request_on_a_connection_is_the_same_clients(
    balanced: Balanced, upstream: RawUpstream, clients: Clients
) -> None:
    client = clients(balanced().public_url)
    for begin in (LINE, b""):
        client.send(begin + GET)
        assert client.answer().status == 200
    client.open(b"/lab")
    assert [call.value(b"X-Forwarded-For") for call in upstream.calls] == [CLIENT] * 3


def test_a_page_that_came_over_tls_which_the_balancer_ended_is_of_the_same_origin(
    balanced: Balanced, upstream: RawUpstream, clients: Clients
) -> None:
    bascule = balanced()
    for by_tls, origin, status in [
        (True, b"https://front", 101),
        (True, b"http://front", 403),
        (False, b"https://front", 403),
        (False, b"http://front", 101),
    ]:
        client = clients(bascule.public_url)
        client.send(version_2(CLIENT, by_tls=by_tls) + upgrade(b"/lab", b"Origin: " + origin))
        assert client.head().status == status
    client = clients(bascule.public_url)
    client.send(version_2(CLIENT, by_tls=True) + GET)
    assert client.answer().status == 200
    assert upstream.calls[-1].value(b"X-Forwarded-Proto") == b"https"


def test_behind_the_header_tls_may_begin(
    balanced: Balanced, upstream: RawUpstream, clients: Clients, certificate: Certificate
) -> None:
    bascule = balanced(tls=certificate.block())
    client = clients(bascule.public_url)
    client.send(LINE)
    secure = certificate.client().wrap_socket(client.socket, server_hostname="localhost")
    browser = RawClient(secure)
    browser.open(b"/lab")
    browser.say(b"hello")
    assert browser.reply().payload == b"hello"
    (call,) = upstream.calls
    assert (call.value(b"X-Forwarded-For"), call.value(b"X-Forwarded-Proto")) == (CLIENT, b"https")
    browser.close()


def test_without_its_header_no_tls_begins(
    balanced: Balanced, certificate: Certificate, clients: Clients
) -> None:
    bascule = balanced(tls=certificate.block())
    client = clients(bascule.public_url)
    with pytest.raises((ssl.SSLError, OSError)):
        certificate.client().wrap_socket(client.socket, server_hostname="localhost")


def test_who_is_told_to_come_by_https_may_come_by_a_balancer(
    balanced: Balanced, certificate: Certificate, clients: Clients
) -> None:
    bascule = balanced(tls={**certificate.block(), "redirectFrom": "127.0.0.1:0"})
    (line,) = bascule.events("listening")
    client = clients(f"http://{line['redirect']}")
    client.send(LINE + GET)
    assert client.answer().status == 301


@pytest.mark.parametrize("header", [SPEAKS_FOR_ITSELF, b"PROXY UNKNOWN\r\n"], ids=["local", "unknown"])
def test_a_balancer_that_names_nobody_is_the_client_itself(
    balanced: Balanced, upstream: RawUpstream, clients: Clients, header: bytes
) -> None:
    client = clients(balanced().public_url)
    client.send(header + upgrade(b"/lab"))
    assert client.head().status == 101
    assert upstream.calls[0].value(b"X-Forwarded-For") == b"127.0.0.1"


def test_fields_of_a_trusted_proxy_are_believed_if_the_header_names_that(
    balanced: Balanced, upstream: RawUpstream, clients: Clients
) -> None:
    bascule = balanced(trustedProxies=[CLIENT.decode()])
    for header in (LINE, SPEAKS_FOR_ITSELF):
        client = clients(bascule.public_url)
        client.send(header + upgrade(b"/lab", b"X-Forwarded-For: 192.0.2.9"))
        assert client.head().status == 101
    assert [call.value(b"X-Forwarded-For") for call in upstream.calls] == [
        b"192.0.2.9, 203.0.113.7",
        b"127.0.0.1",
    ]


@pytest.mark.parametrize("begin", [GET, upgrade(b"/lab"), b"PROXY TCP4 me you 1 2\r\n"])
def test_a_balancer_that_does_not_say_whose_a_connection_is_gets_no_answer_and_a_line_in_the_log(
    balanced: Balanced, upstream: RawUpstream, clients: Clients, begin: bytes
) -> None:  # 91
    bascule = balanced()
    for _ in range(3):
        client = clients(bascule.public_url)
        client.send(begin)
        assert client.rest() == b""
    assert upstream.calls == []
    (line,) = bascule.all_events("a connection without a PROXY header", 1)
    assert (line["level"], line["peer"]) == ("warning", "127.0.0.1")


def test_from_elsewhere_a_connection_is_taken_as_it_is(
    balanced: Balanced, upstream: RawUpstream
) -> None:  # 92
    bascule = balanced()
    client = from_elsewhere(bascule)
    client.open(b"/lab")
    assert upstream.calls[0].value(b"X-Forwarded-For") == b"127.0.0.2"
    client.close()
    liar = from_elsewhere(bascule)
    liar.send(LINE + GET)
    assert b"400" in liar.rest().partition(b"\r\n")[0]
    liar.close()
    assert len(upstream.calls) == 1


def test_a_header_that_does_not_come_to_its_end_is_waited_for_as_long_as_a_handshake(
    balanced: Balanced, clients: Clients
) -> None:  # 93
    bascule = balanced(limits={"handshakeTimeout": "300ms"})
    client = clients(bascule.public_url)
    client.send(LINE[:-1])
    assert client.rest() == b""
    assert bascule.events("a connection without a PROXY header") == []


def test_health_checks_that_say_nothing_leave_nothing_behind(balanced: Balanced, clients: Clients) -> None:
    bascule = balanced(log={"level": "debug"})
    before = bascule.metric("process_open_fds")
    for begin in (b"", b"PRO", SPEAKS_FOR_ITSELF, LINE):
        client = clients(bascule.public_url)
        client.send(begin)
        client.close()
    eventually(lambda: bascule.metric("process_open_fds") <= before, 5, "all connections are closed")
    assert [line for line in bascule.log_lines if line["level"] in ("warning", "error")] == []


def test_silent_ones_are_bounded_like_other_newcomers(balanced: Balanced, clients: Clients) -> None:  # 93
    bascule = balanced(limits={"maxHandshakes": 2})
    silent = [clients(bascule.public_url) for _ in range(3)]
    for each in silent:
        each.send(b"PROXY ")
    assert silent[0].rest() == b""
    silent[2].send(LINE[6:] + upgrade(b"/lab"))
    assert silent[2].head().status == 101
