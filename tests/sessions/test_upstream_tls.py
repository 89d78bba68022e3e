"""Upstreams that have certificates of a private authority, and ask for one of ours."""

from __future__ import annotations

import contextlib
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.authority import Authority, make_authority
from tests.support.rawclient import RawClient, connected
from tests.support.rawupstream import Call, RawUpstream, run_upstream
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import Start
    from tests.support.bascule import RunningBascule
    from tests.support.certificates import Certificate

TOKEN = "the-token-of-the-hub"
NOT_OURS = "TLS handshake failed: the upstream does not accept our certificate"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("authorities") / "ours")


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("authorities") / "theirs")


@pytest.fixture
def shown(authority: Authority, tmp_path: Path) -> Certificate:
    """Return what the proxy of a test shows, in files of its own."""
    made = authority.issue("proxy")
    for file in (made.certificate, made.key):
        shutil.copy(file, tmp_path)
    return type(made)(tmp_path / made.certificate.name, tmp_path / made.key.name)


@contextlib.contextmanager
def behind_tls(authority: Authority, certificate: Certificate) -> Iterator[RawUpstream]:
    """Run an upstream with a certificate that speaks with nobody who shows none of this authority."""
    with run_upstream(authority.server(certificate)) as running:
        running.scripts[b"/page"] = page
        yield running


@pytest.fixture
def upstream(authority: Authority) -> Iterator[RawUpstream]:
    with behind_tls(authority, authority.issue("upstream")) as running:
        yield running


def page(call: Call) -> None:
    call.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nsafe")


def block(authority: Authority, shown: Certificate | None = None, **more: Any) -> dict[str, Any]:
    return {"ca": str(authority.ca), **({} if shown is None else shown.block()), **more}


def config(upstream: RawUpstream, tls: dict[str, Any]) -> dict[str, Any]:
    return {
        "routes": [{"name": "all", "path": "/", "upstream": upstream.url}],
        "forwarders": {"count": 1},
        "upstreamTls": tls,
    }


def works(client: RawClient) -> bool:
    """Use a session."""
    client.say(b"hello")
    return client.reply().payload == b"hello"


def asked(bascule: RunningBascule, target: bytes = b"/page") -> tuple[int, bytes]:
    """Ask for a page; return its status and body."""
    with connected(bascule.public_url) as client:
        client.send(b"GET " + target + b" HTTP/1.1\r\nHost: front\r\n\r\n")
        answer = client.answer()
        return answer.status, answer.body


def told(bascule: RunningBascule) -> set[str]:
    """Return how a page and a WebSocket fail."""
    assert asked(bascule)[0] == 502
    with connected(bascule.public_url) as client:
        client.open()
        assert client.refusal().code == 1013
    return {bascule.all_events(event, 1)[0]["detail"] for event in ("request failed", "session refused")}


def test_pages_and_sessions_reach_an_upstream_that_asks_for_our_certificate(
    bascule: Start, upstream: RawUpstream, authority: Authority, shown: Certificate
) -> None:
    proxy = bascule(config(upstream, block(authority, shown)))

    assert asked(proxy) == (200, b"safe")
    with connected(proxy.public_url) as client:
        client.open()
        assert works(client)
    assert proxy.events("certificates of upstreams are not checked") == []


def test_who_shows_no_certificate_is_told_to(
    bascule: Start, upstream: RawUpstream, authority: Authority
) -> None:
    proxy = bascule(config(upstream, block(authority)))

    assert told(proxy) == {"TLS handshake failed: the upstream asks for a certificate of ours"}


def test_a_certificate_of_another_authority_is_not_accepted_there(
    bascule: Start, upstream: RawUpstream, authority: Authority, theirs: Authority
) -> None:
    proxy = bascule(config(upstream, block(authority, theirs.issue("proxy"))))

    assert told(proxy) == {NOT_OURS}


def test_an_expired_certificate_of_ours_is_not_accepted_there(
    bascule: Start, upstream: RawUpstream, authority: Authority
) -> None:
    proxy = bascule(config(upstream, block(authority, authority.issue("expired-proxy", expired=True))))

    assert told(proxy) == {NOT_OURS}


def test_an_upstream_of_another_authority_is_not_trusted(
    bascule: Start, upstream: RawUpstream, theirs: Authority, shown: Certificate
) -> None:
    proxy = bascule(config(upstream, block(theirs, shown)))

    assert told(proxy) == {"TLS handshake failed: the certificate's CA is not trusted"}
    assert upstream.calls == []


@pytest.mark.parametrize(
    ("issued", "why"),
    [
        ({"expired": True}, "the certificate has expired"),
        ({"names": "DNS:elsewhere"}, "the certificate is for another name"),
    ],
)
def test_an_upstream_whose_certificate_is_not_good_is_not_asked(
    bascule: Start, authority: Authority, shown: Certificate, issued: dict[str, Any], why: str
) -> None:
    with behind_tls(authority, authority.issue("bad", **issued)) as upstream:
        proxy = bascule(config(upstream, block(authority, shown)))

        assert told(proxy) == {f"TLS handshake failed: {why}"}
        assert upstream.calls == []


def test_what_is_not_checked_is_reached_and_the_log_warns_once(
    bascule: Start, theirs: Authority, authority: Authority, shown: Certificate
) -> None:
    with behind_tls(authority, theirs.issue("any", names="DNS:elsewhere", expired=True)) as upstream:
        proxy = bascule(config(upstream, {**shown.block(), "verify": False}))

        assert asked(proxy) == (200, b"safe")
        with connected(proxy.public_url) as client:
            client.open()
            assert works(client)
    (warning,) = proxy.events("certificates of upstreams are not checked")
    assert (warning["level"], warning["key"]) == ("warning", "upstreamTls.verify")


def test_a_certificate_that_was_renewed_is_shown_from_then_on_and_no_session_ends(
    bascule: Start, authority: Authority, shown: Certificate
) -> None:
    seen: list[str] = []

    def tell(call: Call) -> None:
        ((_, name),) = call.socket.getpeercert()["subject"][0]  # type: ignore[attr-defined]
        seen.append(name)
        page(call)

    with behind_tls(authority, authority.issue("upstream")) as upstream:
        upstream.scripts[b"/page"] = tell
        proxy = bascule(config(upstream, block(authority, shown)))
        with connected(proxy.public_url) as old:
            old.open()
            assert asked(proxy) == (200, b"safe")
            renewed = authority.issue("renewed")
            shutil.copy(renewed.certificate, shown.certificate)
            shutil.copy(renewed.key, shown.key)
            while not proxy.events("configuration reloaded"):
                assert works(old)
            eventually(lambda: asked(proxy)[0] == 200 and seen[-1] == "renewed", 10, "the new one is shown")
            assert works(old)
    assert seen[0] == "proxy"


def test_files_that_cannot_be_used_change_nothing_and_the_log_names_their_keys(
    bascule: Start, upstream: RawUpstream, authority: Authority, theirs: Authority, shown: Certificate
) -> None:
    proxy = bascule(config(upstream, block(authority, shown)))
    other = theirs.issue("other")

    assert not proxy.reload(upstreamTls={**block(authority, shown), "key": str(other.key)})
    assert not proxy.reload(upstreamTls=block(authority, shown, ca=str(shown.key)))
    assert not proxy.reload(upstreamTls=block(authority, shown, ca="/nowhere.pem"))

    said = [line["problem"].split(" ")[:2] for line in proxy.events("configuration not reloaded")]
    place = f"{proxy.file}:1:"
    assert said == [[place, f"upstreamTls.{key}:"] for key in ("certificate", "ca", "ca")]
    assert asked(proxy) == (200, b"safe")


def test_the_page_of_an_error_comes_from_a_server_that_asks_for_our_certificate(
    bascule: Start, upstream: RawUpstream, authority: Authority, shown: Certificate
) -> None:
    def error(call: Call) -> None:
        call.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\nno lab")

    upstream.scripts[b"/hub/error/404"] = error
    hub = {"enabled": True, "errorTarget": f"{upstream.url}/hub/error"}
    proxy = bascule(
        {"hub": hub, "adminToken": TOKEN, "forwarders": {"count": 1}, "upstreamTls": block(authority, shown)}
    )

    with connected(proxy.public_url) as client:
        client.send(b"GET /user/ada HTTP/1.1\r\nHost: front\r\nAccept: text/html\r\n\r\n")
        answer = client.answer()
    assert (answer.status, answer.body) == (404, b"no lab")
