"""An admin listener with TLS: what is announced, who is answered, and that instances find each other."""

from __future__ import annotations

import json
import shutil
import ssl
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.authority import Authority, make_authority
from tests.support.hubapi import HubApi
from tests.support.processes import reserve_port
from tests.support.proctree import gateway, kill
from tests.support.rawclient import connected
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import Start
    from tests.support.bascule import RunningBascule
    from tests.support.certificates import Certificate
    from tests.support.rawupstream import RawUpstream

    Proxy = Callable[..., tuple[RunningBascule, HubApi]]

TOKEN = "the-token-of-the-hub"
FAILING = "/metrics?name=bascule_hub_peers_failing"
READY = (200, b'{"ready": true, "reason": null}')


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("authorities") / "ours")


def block(authority: Authority, shown: Certificate) -> dict[str, str]:
    return {**shown.block(), "clientCa": str(authority.ca), "peerCa": str(authority.ca)}


@pytest.fixture
def proxy(bascule: Start, authority: Authority) -> Proxy:
    """Start a proxy with JupyterHub's API; returns it, and its API for who shows a certificate."""
    caller = authority.client(authority.issue("caller"))

    def start(tls: dict[str, str], **config: Any) -> tuple[RunningBascule, HubApi]:
        whole = {"hub": {"enabled": True}, "adminToken": TOKEN, "forwarders": {"count": 1}, "adminTls": tls}
        running = bascule({**whole, **config})
        (line,) = running.events("listening")
        return running, HubApi(line["status_page"].rstrip("/"), TOKEN, caller)

    return start


def refuses(api: HubApi, context: ssl.SSLContext) -> bool:
    """Tell whether somebody gets no answer, though the listener itself is trusted."""
    try:
        HubApi(api.url, TOKEN, context).call("GET", "/healthz")
    except ssl.SSLCertVerificationError:
        raise
    except OSError:
        return True
    return False


def test_the_api_and_the_status_page_are_there_for_who_shows_a_certificate_only(
    proxy: Proxy, authority: Authority, upstream: RawUpstream
) -> None:
    running, api = proxy(block(authority, authority.issue("admin")))

    assert api.url.startswith("https://127.0.0.1:")
    assert b"<!doctype html>" in api.call("GET", "/")[1]
    assert api.call("GET", "/readyz") == READY
    assert b"ws_pool_max_connections" in api.call("GET", "/metrics")[1]
    api.add("/user/ada", upstream.url, user="ada")
    with connected(running.public_url) as client:
        client.open(b"/user/ada/x")
        assert [row["user"] for row in api.sessions()] == ["ada"]
    assert refuses(api, authority.client())
    assert HubApi(api.url, "another", api.tls).call("GET", "/api/routes")[0] == 403


def test_without_a_ca_of_callers_none_of_them_needs_a_certificate(proxy: Proxy, authority: Authority) -> None:
    _, api = proxy(authority.issue("admin").block())

    assert not refuses(api, authority.client())


def test_a_renewed_certificate_of_the_admin_listener_is_shown_from_then_on(
    proxy: Proxy, authority: Authority, upstream: RawUpstream
) -> None:
    shown, other = authority.issue("admin"), authority.issue("other", names="DNS:elsewhere")
    running, api = proxy(block(authority, shown))
    api.add("/user/ada", upstream.url)
    with connected(running.public_url) as client:
        client.open(b"/user/ada/x")
        shutil.copy(other.certificate, shown.certificate)
        shutil.copy(other.key, shown.key)
        while not shows_another_name(api):
            client.say(b"hello")
            assert client.reply().payload == b"hello"
        assert running.events("configuration reloaded")


def shows_another_name(api: HubApi) -> bool:
    try:
        api.call("GET", "/healthz")
    except ssl.SSLCertVerificationError as error:
        return error.verify_code in (62, 64)
    except OSError:
        pass
    return False


def test_a_gateway_that_died_is_followed_by_one_that_speaks_tls_as_well(
    proxy: Proxy, authority: Authority
) -> None:
    running, api = proxy(block(authority, authority.issue("admin")))
    before = gateway(running)

    kill(before)

    eventually(lambda: api.call_if_up("GET", "/readyz") == READY, 20, "another one answers")
    assert refuses(api, authority.client())


def test_instances_share_routes_and_capacity_over_tls(
    proxy: Proxy, authority: Authority, upstream: RawUpstream
) -> None:
    tls = block(authority, authority.issue("admin"))
    addresses = [f"127.0.0.1:{reserve_port()}" for _ in range(2)]
    started = [
        proxy(
            tls,
            admin=own,
            hub={"enabled": True, "shareRoutes": True},
            capacity={"peers": [other], "cacheFor": 0},
        )
        for own, other in zip(addresses, reversed(addresses), strict=True)
    ]
    (_, first), (two, second) = started
    for api in (first, second):
        eventually(partial(is_ready, api), 10, "it is ready")

    first.add("/user/ada", upstream.url, user="ada")

    assert set(second.routes()) == {"/user/ada"}
    with connected(two.public_url) as client:
        client.open(b"/user/ada/x")
        cluster = json.loads(first.call("GET", "/capacity")[1])["cluster"]
    assert (cluster["inFlight"], cluster["reporting"]) == (1, 2)
    eventually(lambda: first.call("GET", FAILING)[1].endswith(b" 0.0\n"), 30, "no instance fails")


def is_ready(api: HubApi) -> bool:
    return api.call_if_up("GET", "/readyz") == READY


def test_an_instance_of_another_authority_shares_nothing_and_the_log_says_why(
    proxy: Proxy, authority: Authority, tmp_path_factory: pytest.TempPathFactory
) -> None:
    theirs = make_authority(tmp_path_factory.mktemp("authorities") / "theirs")
    address = f"127.0.0.1:{reserve_port()}"
    proxy(theirs.issue("theirs").block(), admin=address)
    running, _ = proxy(
        {**authority.issue("ours").block(), "peerCa": str(authority.ca)},
        hub={"enabled": True, "shareRoutes": True},
        capacity={"peers": [address]},
    )

    (line,) = running.all_events("a peer does not share its routes", 1)
    assert line["problem"] == "TLS handshake failed: the certificate's CA is not trusted"


# -- browsers that need a certificate ---------------------------------------------------------------------


def test_browsers_need_a_certificate_where_there_is_a_ca_of_theirs(
    bascule: Start, authority: Authority, upstream: RawUpstream
) -> None:
    running = bascule(
        {
            "routes": [{"name": "all", "path": "/", "upstream": upstream.url}],
            "forwarders": {"count": 1},
            "tls": {**authority.issue("public").block(), "clientCa": str(authority.ca)},
        }
    )
    with connected(running.public_url, authority.client(authority.issue("browser"))) as client:
        client.open()
        client.say(b"hello")
        assert client.reply().payload == b"hello"
    assert refuses(HubApi(running.public_url, ""), authority.client())
