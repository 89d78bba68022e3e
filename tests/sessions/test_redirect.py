"""Browsers that come by http are told to come by https."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.proctree import gateway, kill
from tests.support.rawclient import RawClient, connect, connected, upgrade
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import Start
    from tests.support.bascule import RunningBascule
    from tests.support.certificates import Certificate
    from tests.support.rawupstream import RawUpstream

    Proxy = Callable[..., RunningBascule]


@pytest.fixture
def proxy(bascule: Start, upstream: RawUpstream, certificate: Certificate) -> Proxy:
    """Start a proxy with TLS that redirects; arguments are keys of its block ``tls``."""

    def start(**tls: Any) -> RunningBascule:
        block = {**certificate.block(), "redirectFrom": "127.0.0.1:0", **tls}
        routes = [{"name": "all", "path": "/", "upstream": upstream.url}]
        return bascule({"routes": routes, "tls": block, "forwarders": {"count": 1}})

    return start


def redirects(bascule: RunningBascule) -> str:
    """Return where it listens for them."""
    (line,) = bascule.events("listening")
    return f"http://{line['redirect']}"


def asked(client: RawClient, start: bytes, *fields: bytes) -> tuple[int, bytes | None]:
    client.send(b"\r\n".join([start, *fields, b"", b""]))
    answer = client.answer()
    return answer.status, answer.value(b"Location")


def test_a_page_is_at_the_same_place_by_https(proxy: Proxy, certificate: Certificate) -> None:
    bascule = proxy()
    port = bascule.public_url.rpartition(":")[2].encode()
    with connected(redirects(bascule)) as client:
        found = asked(client, b"GET /lab?a=b HTTP/1.1", b"Host: localhost:80")
        assert found == (301, b"https://localhost:%b/lab?a=b" % port)
        assert asked(client, b"GET / HTTP/1.1", b"Host: a b")[0] == 400
    with connected(bascule.public_url, certificate.client()) as client:
        client.open(b"/lab?a=b", host=b"localhost")


def test_the_port_that_browsers_know_is_named(proxy: Proxy) -> None:
    bascule = proxy(redirectPort=443)
    with connected(redirects(bascule)) as client:
        assert asked(client, b"POST /a HTTP/1.1", b"Host: hub.example:80", b"Content-Length: 0") == (
            308, b"https://hub.example/a",
        )  # fmt: skip


def test_a_websocket_is_told_the_same(proxy: Proxy) -> None:
    bascule = proxy(redirectPort=443)
    with connected(redirects(bascule)) as client:
        client.send(upgrade(b"/lab", host=b"hub.example"))
        answer = client.head()
        assert (answer.status, answer.value(b"Location")) == (301, b"https://hub.example/lab")
    assert bascule.in_flight == 0


@pytest.mark.parametrize("request_bytes", [upgrade(b"/lab"), b"GET /lab HTTP/1.1\r\nHost: front\r\n\r\n"])
def test_a_request_for_two_hosts_or_none_is_sent_to_neither(proxy: Proxy, request_bytes: bytes) -> None:
    place = redirects(proxy())
    host = b"Host: front\r\n"
    for fields in (b"", host + host, host + b"Host: evil:1\r\n"):
        with connected(place) as client:
            client.send(request_bytes.replace(host, fields))
            answer = client.head()
            assert (answer.status, answer.value(b"Location")) == (400, None)


@pytest.mark.parametrize(
    "request_bytes",
    [
        upgrade(start=b"GET /lab HTTP/2.0"),
        b"GET /lab HTTP/2.0\r\nHost: front\r\n\r\n",
        b"GET /lab HTTP/0.9\r\nHost: front\r\n\r\n",
    ],
)
def test_another_version_than_http_1_is_sent_nowhere(proxy: Proxy, request_bytes: bytes) -> None:
    with connected(redirects(proxy())) as client:
        client.send(request_bytes)
        answer = client.answer()
        assert (answer.status, answer.value(b"Location")) == (505, None)
        assert answer.value(b"Connection") == b"close"
        assert client.goodbye() == b""


@pytest.mark.parametrize(("method", "status"), [(b"GET", 301), (b"POST", 308)])
def test_browsers_ask_again_in_time(proxy: Proxy, method: bytes, status: int) -> None:
    with connected(redirects(proxy())) as client:
        client.send(b"%b / HTTP/1.1\r\nHost: front\r\n\r\n" % method)
        answer = client.answer()
        assert (answer.status, answer.value(b"Cache-Control")) == (status, b"max-age=3600")


def test_it_is_there_again_after_a_reload_and_after_a_gateways_death(proxy: Proxy) -> None:
    bascule = proxy()
    place = redirects(bascule)
    bascule.goes_over(7)
    with connected(place) as client:
        assert asked(client, b"GET / HTTP/1.1", b"Host: localhost")[0] == 301
    kill(gateway(bascule))
    eventually(lambda: bascule.cap_if_up == 7, 20, "another gateway serves")
    with connected(place) as client:
        assert asked(client, b"GET / HTTP/1.1", b"Host: localhost")[0] == 301


def test_who_says_nothing_there_keeps_nobody_out_and_no_stop_waiting(
    proxy: Proxy, certificate: Certificate
) -> None:
    bascule = proxy()
    with closing(connect(redirects(bascule))) as silent:
        with connected(bascule.public_url, certificate.client()) as client:
            client.open(b"/", host=b"localhost")
        assert bascule.process.stop(10) == 0
        assert silent.goodbye() == b""
