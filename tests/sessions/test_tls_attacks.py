"""Peers that use TLS in unusual ways, by accident or on purpose: what they, others and the log get."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import ssl
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from tests.support.authority import make_authority
from tests.support.frames import BINARY, KEY, frame
from tests.support.proctree import gateway, kill
from tests.support.rawclient import RawClient, connect, connected, upgrade
from tests.support.rawupstream import Call, RawUpstream, run_upstream, switch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import Start
    from tests.support.bascule import RunningBascule
    from tests.support.certificates import Certificate

BOTH = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]
SENT_MID = b"\x889\x03\xf6The upstream ended the connection without a Close frame"


@pytest.fixture
def behind(certificate: Certificate) -> Iterator[RawUpstream]:
    with run_upstream(certificate.server()) as running:
        yield running


@pytest.fixture
def proxy(bascule: Start, behind: RawUpstream, certificate: Certificate) -> RunningBascule:
    return bascule(
        {
            "routes": [{"name": "all", "path": "/", "upstream": behind.url}],
            "forwarders": {"count": 1},
            "limits": {"handshakeTimeout": "1s"},
            "tls": certificate.block(),
            "upstreamTls": {"ca": str(certificate.certificate)},
        }
    )


def plainly(proxy: RunningBascule) -> socket.socket:
    """Connect without TLS."""
    where = urlsplit(proxy.public_url)
    connection = socket.create_connection((where.hostname, where.port))
    connection.settimeout(10)
    return connection


def works(client: RawClient) -> bool:
    client.say(b"hello")
    return client.reply().payload == b"hello"


def outcome(proxy: RunningBascule) -> tuple[str, str]:
    (line,) = proxy.all_events("session ended", 1)
    return line["ended_by"], line["cause"]


@pytest.mark.parametrize("version", BOTH)
@pytest.mark.parametrize("shows", ["none", "another authority's", "an expired one"])
def test_a_browser_whose_certificate_is_refused_is_told_so_although_it_has_sent_its_request(
    bascule: Start, tmp_path: Path, version: ssl.TLSVersion, shows: str
) -> None:
    ours, theirs = make_authority(tmp_path / "ours"), make_authority(tmp_path / "theirs")
    tls = {**ours.issue("proxy").block(), "clientCa": str(ours.ca)}
    routes = [{"name": "all", "path": "/", "upstream": "http://127.0.0.1:9"}]
    proxy = bascule({"tls": tls, "forwarders": {"count": 1}, "routes": routes})
    context = ssl.create_default_context(cafile=str(ours.ca))
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    context.minimum_version = context.maximum_version = version
    if shows != "none":
        shown = theirs.issue("any") if shows == "another authority's" else ours.issue("any", expired=True)
        context.load_cert_chain(shown.certificate, shown.key)
    secure = context.wrap_socket(plainly(proxy), server_hostname="127.0.0.1", do_handshake_on_connect=False)

    def ask() -> None:
        secure.do_handshake()
        for _ in range(20):  # a reset would come between
            secure.sendall(upgrade())
        secure.recv(1)

    with secure, pytest.raises(ssl.SSLError, match="ALERT"):
        ask()
    proxy.all_events("a certificate is not accepted", 1)


@pytest.mark.parametrize("how", ["cuts it off", "ends TLS"])
def test_a_browser_that_ends_without_a_close_has_left(
    proxy: RunningBascule, certificate: Certificate, how: str
) -> None:
    client = connect(proxy.public_url, certificate.client())
    client.open()
    assert works(client)
    if how == "cuts it off":
        os.close(client.socket.detach())
    else:
        client.socket.unwrap()  # type: ignore[attr-defined] # and waits for the proxy's end
        client.close()
    assert outcome(proxy) == ("client", "aborted")


def test_a_browser_that_resets_its_connection_behind_bytes_that_nobody_has_read_has_left(
    proxy: RunningBascule, certificate: Certificate
) -> None:
    client = connect(proxy.public_url, certificate.client())
    client.open()
    assert works(client)
    process = gateway(proxy)
    kill(process, signal.SIGSTOP)  # so that it finds both at once
    client.send(frame(BINARY, bytes(300_000), key=KEY)[:20])
    client.reset()
    kill(process, signal.SIGCONT)
    assert outcome(proxy) == ("client", "aborted")


@pytest.mark.parametrize("how", ["cuts it off", "ends TLS"])
def test_an_upstream_that_ends_without_a_close_is_named_to_the_browser(
    proxy: RunningBascule, behind: RawUpstream, certificate: Certificate, how: str
) -> None:
    def end(call: Call) -> None:
        switch(call)
        call.frame()
        if how == "cuts it off":
            os.close(call.socket.detach())
        else:
            call.socket.unwrap()  # type: ignore[attr-defined]

    behind.scripts[b"/end"] = end
    with connected(proxy.public_url, certificate.client()) as client:
        client.open(b"/end")
        client.say(b"go")
        assert client.rest() == SENT_MID
    assert outcome(proxy) == ("upstream", "aborted")


def test_handshakes_that_do_not_go_on_end_in_time_and_others_are_served(
    proxy: RunningBascule, certificate: Certificate
) -> None:
    outgoing = ssl.MemoryBIO()
    begun = certificate.client().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost")
    with contextlib.suppress(ssl.SSLWantReadError):
        begun.do_handshake()
    hello = outgoing.read()
    silent = [plainly(proxy) for _ in range(3)]
    for connection, said in zip(silent, (hello[:40], hello, b"\x16\x03\x01\x40\x00"), strict=True):
        connection.sendall(said)
    with connected(proxy.public_url, certificate.client()) as client:
        client.open()
        assert works(client)
    for connection in silent:
        with connection:
            while connection.recv(1 << 16):
                pass


@pytest.mark.parametrize(
    ("offered", "chosen"), [(["h2", "http/1.1"], "http/1.1"), (["h2"], None), (["http/1.1"], "http/1.1")]
)
def test_a_browser_that_offers_http_2_is_spoken_to_in_http_1(
    proxy: RunningBascule, certificate: Certificate, offered: list[str], chosen: str | None
) -> None:
    context = certificate.client()
    context.set_alpn_protocols(offered)
    with connected(proxy.public_url, context) as client:
        assert client.socket.selected_alpn_protocol() == chosen  # type: ignore[attr-defined]
        client.open()
        assert works(client)


@pytest.mark.parametrize("method", [b"GET", b"POST", b"PUT"])
def test_a_request_without_tls_is_told_that_it_needs_tls(proxy: RunningBascule, method: bytes) -> None:
    with plainly(proxy) as connection:
        connection.sendall(method + b" / HTTP/1.1\r\nHost: a\r\n\r\n")
        answer = b"".join(iter(lambda: connection.recv(4096), b""))
    assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert answer.endswith(b"\r\n\r\nThis port speaks HTTP over TLS: use https.\n")


def test_a_client_that_names_no_server_is_served(proxy: RunningBascule, certificate: Certificate) -> None:
    context = certificate.client()
    context.check_hostname = False
    client = RawClient(context.wrap_socket(plainly(proxy)))
    client.open()
    assert works(client)
    client.close()


@pytest.mark.parametrize("version", BOTH)
def test_tls_is_resumed_and_a_reload_makes_it_begin_anew_without_ending_a_session(
    proxy: RunningBascule, certificate: Certificate, version: ssl.TLSVersion
) -> None:
    context = certificate.client()
    context.minimum_version = context.maximum_version = version
    first = connect(proxy.public_url, context)
    first.open()
    assert works(first)
    known = first.socket.session  # type: ignore[attr-defined]

    def again() -> bool:
        secure = context.wrap_socket(plainly(proxy), server_hostname="127.0.0.1", session=known)
        client = RawClient(secure)
        client.open()
        assert works(client)
        was_resumed = bool(secure.session_reused)
        client.close()
        return was_resumed

    assert again()
    assert proxy.reload(limits={"maxHandshakes": 99})
    assert not again()
    assert works(first)
    first.close()
