"""Sessions whose browser, or whose upstream, speaks TLS."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.bascule import RunningBascule, run_bascule
from tests.support.frames import BINARY, KEY, TEXT, frame
from tests.support.rawclient import upgrade
from tests.support.rawupstream import RawUpstream, answer_ok, run_upstream, switch
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.certificates import Certificate
    from tests.support.rawclient import Clients
    from tests.support.rawupstream import Call

pytestmark = pytest.mark.usefixtures("calm")


@pytest.fixture(scope="module")
def tls_upstream(certificate: Certificate) -> Iterator[RawUpstream]:
    with run_upstream(certificate.server()) as running:
        yield running


@pytest.fixture(scope="module")
def bascule(
    tls_upstream: RawUpstream, certificate: Certificate, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningBascule]:
    config = {
        "routes": [
            {"name": "tls", "path": "/", "upstream": tls_upstream.url.replace("127.0.0.1", "localhost")}
        ],
        "forwarders": {"count": 1},
        "limits": {"closingHandshakeTimeout": "300ms"},
    }
    with run_bascule(
        tmp_path_factory.mktemp("bascule"), config, env={"SSL_CERT_FILE": str(certificate.certificate)}
    ) as running:
        yield running


@pytest.fixture(scope="module")
def with_tls(
    upstream: RawUpstream, certificate: Certificate, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningBascule]:
    config = {
        "routes": [{"name": "all", "path": "/", "upstream": upstream.url}],
        "forwarders": {"count": 1},
        "tls": certificate.block(),
        "limits": {"closingHandshakeTimeout": "300ms"},
    }
    with run_bascule(tmp_path_factory.mktemp("bascule"), config) as running:
        yield running


def test_an_https_upstream_is_reached_over_tls(
    bascule: RunningBascule, tls_upstream: RawUpstream, clients: Clients
) -> None:
    client = clients(bascule.public_url)
    client.open(b"/x")
    big = bytes(range(256)) * 4000
    client.say(big, BINARY)
    assert client.frame().payload == big
    (call,) = tls_upstream.calls_for(b"/x")
    assert call.value(b"X-Forwarded-Proto") == b"http"


def test_an_https_upstream_that_closes_is_heard(
    bascule: RunningBascule, tls_upstream: RawUpstream, clients: Clients
) -> None:
    def once(call: Call) -> None:
        switch(call)
        call.frame()

    tls_upstream.scripts[b"/once"] = once
    client = clients(bascule.public_url)
    client.open(b"/once")
    client.say(b"x")
    said = client.frame()
    assert (said.code, said.reason) == (1014, b"The upstream ended the connection without a Close frame")


def test_an_https_upstream_whose_certificate_is_another_is_unreachable(
    with_tls: RunningBascule,
    tls_upstream: RawUpstream,
    clients: Clients,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    # This proxy does not trust the upstream's certificate.
    home = tmp_path_factory.mktemp("bascule")
    config = {
        "routes": [
            {"name": "tls", "path": "/", "upstream": tls_upstream.url.replace("127.0.0.1", "localhost")}
        ],
        "forwarders": {"count": 1},
    }
    with run_bascule(home, config) as suspicious:
        client = clients(suspicious.public_url)
        client.send(upgrade(b"/"))
        assert client.head().status == 101
        assert client.refusal().code == 1013
        (line,) = eventually(lambda: _refusals(suspicious), 10, "it is said")
        detail = "TLS handshake failed: the certificate is self-signed"
        assert (line["reason"], line["detail"]) == ("unreachable", detail)


def _refusals(bascule: RunningBascule) -> list[dict[str, Any]]:
    return [line for line in bascule.log_lines if line.get("event") == "session refused"]


def test_a_browser_may_come_over_tls(
    with_tls: RunningBascule, upstream: RawUpstream, certificate: Certificate, clients: Clients
) -> None:
    before = len(upstream.calls)
    client = clients(with_tls.public_url, certificate.client())
    client.open(b"/x", b"Origin: https://front")
    big = bytes(range(256)) * 4000
    client.say(big, BINARY)
    assert client.frame().payload == big
    (call,) = upstream.calls[before:]
    assert call.value(b"X-Forwarded-Proto") == b"https"
    client.close()
    eventually(lambda: with_tls.in_flight == 0, 5, "its end is noticed")


def test_early_frames_over_tls_arrive(
    with_tls: RunningBascule, certificate: Certificate, clients: Clients
) -> None:
    client = clients(with_tls.public_url, certificate.client())
    client.send(upgrade(b"/x") + frame(TEXT, b"early", key=KEY))
    assert client.head().status == 101
    assert client.frame().payload == b"early"


def test_an_upgrade_on_a_kept_alive_tls_connection_works(
    with_tls: RunningBascule, upstream: RawUpstream, certificate: Certificate, clients: Clients
) -> None:
    upstream.scripts[b"/plain"] = answer_ok
    client = clients(with_tls.public_url, certificate.client())
    client.send(b"GET /plain HTTP/1.1\r\nHost: front\r\n\r\n")
    assert client.answer().body == b"ok"
    client.open(b"/x")
    client.say(b"over")
    assert client.frame().payload == b"over"
