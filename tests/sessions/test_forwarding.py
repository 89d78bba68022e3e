"""What an upstream sees of a request, and what a browser needs: fields, origins, credentials, a ceiling."""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING

import jwt
import pytest

from tests.support.bascule import RunningBascule, run_bascule
from tests.support.figures import Figures
from tests.support.frames import BINARY, KEY, TEXT, frame, header
from tests.support.rawclient import upgrade

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.rawclient import Clients
    from tests.support.rawupstream import Call, RawUpstream

pytestmark = pytest.mark.usefixtures("calm")

ELSEWHERE = "https://notebooks.example"
SIGNING_KEY = secrets.token_hex(64)


def _routes(upstream: str) -> list[dict[str, object]]:
    return [
        {"name": "all", "path": "/", "upstream": upstream},
        {"name": "stripped", "path": "/apps/one/", "upstream": upstream, "stripPrefix": True},
        {"name": "elsewhere", "path": "/elsewhere", "upstream": upstream, "allowedOrigins": [ELSEWHERE]},
        {"name": "anybody", "path": "/anybody", "upstream": upstream, "allowedOrigins": ["*"]},
        {"name": "private", "path": "/private", "upstream": upstream, "auth": "session"},
        {"name": "gone", "path": "/private/gone", "upstream": "http://127.0.0.1:1", "auth": "session"},
        {"name": "small", "path": "/small", "upstream": upstream, "incomingBufferBytes": 1000},
    ]


@pytest.fixture(scope="module")
def bascule(
    upstream: RawUpstream,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[RunningBascule]:
    home = tmp_path_factory.mktemp("bascule")
    key = home / "key"
    key.write_text(SIGNING_KEY)
    config = {
        "routes": _routes(upstream.url),
        "forwarders": {"count": 1},
        "auth": {"session": {"keyFile": str(key)}},
        "limits": {"closingHandshakeTimeout": "300ms"},
    }
    with run_bascule(home, config) as running:
        yield running


@pytest.fixture(scope="module")
def behind_a_proxy(
    upstream: RawUpstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningBascule]:
    config = {
        "routes": [
            {"name": "all", "path": "/", "upstream": upstream.url},
            {"name": "stripped", "path": "/apps/one/", "upstream": upstream.url, "stripPrefix": True},
        ],
        "forwarders": {"count": 1},
        "trustedProxies": ["127.0.0.0/8"],
        "limits": {"closingHandshakeTimeout": "300ms"},
    }
    with run_bascule(tmp_path_factory.mktemp("bascule"), config) as running:
        yield running


@pytest.fixture(scope="module")
def on_both_families(
    upstream: RawUpstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningBascule]:
    config = {
        "listen": "[::]:0",
        "routes": [{"name": "all", "path": "/", "upstream": upstream.url}],
        "forwarders": {"count": 1},
    }
    with run_bascule(tmp_path_factory.mktemp("bascule"), config) as running:
        yield running


def _asked(upstream: RawUpstream, clients: Clients, url: str, target: bytes, *more: bytes) -> Call:
    """Open a session and return the call that the upstream got."""
    before = len(upstream.calls)
    clients(url).open(target, *more)
    (call,) = upstream.calls[before:]
    return call


# -- fields ---------------------------------------------------------------------------------------


def test_host_origin_cookies_and_path_arrive_as_they_were_sent(
    bascule: RunningBascule, upstream: RawUpstream, clients: Clients
) -> None:
    before = len(upstream.calls)
    client = clients(bascule.public_url)
    target = b"/api/kernels/a%2Fb//%7Euser/x%2F%2Fy/channels?session_id=%2e%2E/;x&token=a+b"
    client.send(
        upgrade(
            target,
            b"Origin: http://lab.example:8080",
            b"Cookie: a=1; _xsrf=2|x",
            b"Cookie: b=2",
            b"Authorization: token abc",
            b"Accept-Language: de",
            host=b"lab.example:8080",
        )
    )
    assert client.head().status == 101
    (call,) = upstream.calls[before:]
    assert call.target == target
    assert call.value(b"Host") == b"lab.example:8080"
    assert call.value(b"Origin") == b"http://lab.example:8080"
    assert call.values(b"Cookie") == [b"a=1; _xsrf=2|x", b"b=2"]
    assert call.value(b"Authorization") == b"token abc"
    assert call.value(b"Accept-Language") == b"de"


def test_what_an_untrusted_client_claims_is_replaced(
    bascule: RunningBascule, upstream: RawUpstream, clients: Clients
) -> None:  # 55
    call = _asked(
        upstream,
        clients,
        bascule.public_url,
        b"/",
        b"X-Forwarded-For: 6.6.6.6",
        b"X-Forwarded-Proto: https",
        b"X-Forwarded-Host: evil.example",
        b"X-Forwarded-Prefix: /evil",
        b"X-Real-IP: 6.6.6.6",
        b"Forwarded: for=6.6.6.6",
        b"X-Scheme: https",
        b"X_Forwarded_For: 6.6.6.6",
    )
    assert call.value(b"X-Forwarded-For") == b"127.0.0.1"
    assert call.value(b"X-Forwarded-Proto") == b"http"
    assert call.value(b"X-Forwarded-Host") == b"front"
    assert call.value(b"X-Real-IP") == b"127.0.0.1"
    for gone in (b"X-Forwarded-Prefix", b"Forwarded", b"X-Scheme", b"X_Forwarded_For"):
        assert call.values(gone) == []


def test_an_ipv4_client_of_a_listener_for_both_families_has_its_usual_address(
    on_both_families: RunningBascule, upstream: RawUpstream, clients: Clients
) -> None:
    url = on_both_families.public_url.replace("[::]", "127.0.0.1")
    call = _asked(upstream, clients, url, b"/")
    assert call.values(b"X-Forwarded-For") == call.values(b"X-Real-IP") == [b"127.0.0.1"]
    assert [row["client"] for row in on_both_families.sessions()] == ["127.0.0.1"]
    upstream.scripts[b"/both"] = lambda call: call.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    client = clients(url)
    client.send(b"GET /both HTTP/1.1\r\nHost: front\r\n\r\n")
    assert client.answer().status == 200
    assert upstream.calls[-1].values(b"X-Forwarded-For") == [b"127.0.0.1"]


def test_what_a_trusted_proxy_says_is_kept_and_continued(
    behind_a_proxy: RunningBascule, upstream: RawUpstream, clients: Clients
) -> None:
    call = _asked(
        upstream,
        clients,
        behind_a_proxy.public_url,
        b"/apps/one/x",
        b"X-Forwarded-For: 6.6.6.6, 203.0.113.9",
        b"X-Forwarded-Proto: https",
        b"X-Forwarded-Host: lab.example",
        b"X-Forwarded-Prefix: /outer",
        b"Origin: https://lab.example",
    )
    assert call.value(b"X-Forwarded-For") == b"6.6.6.6, 203.0.113.9, 127.0.0.1"
    assert call.value(b"X-Forwarded-Proto") == b"https"
    assert call.value(b"X-Forwarded-Host") == b"lab.example"
    assert call.value(b"X-Forwarded-Prefix") == b"/outer/apps/one"
    assert call.value(b"X-Real-IP") == b"203.0.113.9"


def test_a_stripped_prefix_is_told(bascule: RunningBascule, upstream: RawUpstream, clients: Clients) -> None:
    call = _asked(upstream, clients, bascule.public_url, b"/apps/one/_stcore/stream?a=%20")
    assert call.target == b"/_stcore/stream?a=%20"
    assert call.value(b"X-Forwarded-Prefix") == b"/apps/one"


def test_connection_specific_fields_do_not_travel(
    bascule: RunningBascule, upstream: RawUpstream, clients: Clients
) -> None:
    before = len(upstream.calls)
    client = clients(bascule.public_url)
    client.send(
        upgrade(
            b"/",
            b"Connection: keep-alive, Upgrade, X-Mine",
            b"Keep-Alive: timeout=5",
            b"TE: trailers",
            b"Proxy-Authorization: Basic abc",
            b"Proxy-Connection: keep-alive",
            b"Proxy: http://evil",
            b"HTTP2-Settings: AAMAAABkAAQ",
            b"X-Mine: 1",
            without=(b"connection",),
        )
    )
    assert client.head().status == 101
    (call,) = upstream.calls[before:]
    assert call.value(b"Connection") == b"Upgrade"
    assert call.value(b"Upgrade") == b"websocket"
    for gone in (
        b"Keep-Alive",
        b"TE",
        b"Proxy-Authorization",
        b"Proxy-Connection",
        b"Proxy",
        b"HTTP2-Settings",
        b"X-Mine",
    ):
        assert call.values(gone) == []


def test_a_request_that_has_been_here_before_is_508(
    bascule: RunningBascule, upstream: RawUpstream, clients: Clients
) -> None:  # 48
    via = _asked(upstream, clients, bascule.public_url, b"/").value(b"Via")
    assert via is not None
    client = clients(bascule.public_url)
    client.send(upgrade(b"/", b"Via: 1.1 other, " + via))
    assert client.head().status == 508


# -- origins --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "origin", "status"),
    [
        (b"/", b"http://front", 101),
        (b"/", b"http://FRONT", 101),
        (b"/", b"https://front", 403),
        (b"/", b"http://front:8080", 403),
        (b"/", b"http://sub.front", 403),
        (b"/", b"http://front.evil.example", 403),
        (b"/", b"null", 403),
        (b"/", b"http://good.evil", 403),
        (b"/", b"", 403),
        (b"/elsewhere", b"https://notebooks.example", 101),
        (b"/elsewhere", b"http://notebooks.example", 403),
        (b"/elsewhere", b"https://notebooks.example.evil", 403),
        (b"/anybody", b"https://evil.example", 101),
    ],
)
def test_a_page_of_another_origin_opens_a_session_only_where_the_route_allows_it(
    bascule: RunningBascule, clients: Clients, path: bytes, origin: bytes, status: int
) -> None:  # 50
    client = clients(bascule.public_url)
    client.send(upgrade(path, b"Origin: " + origin))
    assert client.head().status == status


def test_the_origin_is_that_of_the_proxy_in_front(behind_a_proxy: RunningBascule, clients: Clients) -> None:
    told = (b"X-Forwarded-Proto: https", b"X-Forwarded-Host: lab.example")
    for origin, status in (
        (b"https://lab.example", 101),
        (b"http://lab.example", 403),
        (b"http://front", 403),
    ):
        client = clients(behind_a_proxy.public_url)
        client.send(upgrade(b"/", *told, b"Origin: " + origin))
        assert client.head().status == status


# -- credentials ----------------------------------------------------------------------------------


def _token(key: str = SIGNING_KEY, **claims: object) -> bytes:
    whole = {"sub": "meb10000", "aud": "PROXY", "exp": int(time.time()) + 3600, **claims}
    return jwt.encode(whole, key, algorithm="HS512").encode()


def test_a_session_cookie_opens_a_private_route_and_does_not_travel_on(
    bascule: RunningBascule, upstream: RawUpstream, clients: Clients
) -> None:  # 54
    token = _token()
    call = _asked(
        upstream,
        clients,
        bascule.public_url,
        b"/private/x",
        b"Cookie: a=1; proxy_session=" + token + b"; b=2",
    )
    assert b"".join(call.values(b"Cookie")) == b"a=1; b=2"
    assert token not in call.head
    assert {row["user"] for row in bascule.sessions() if row["route"] == "private"} == {"meb10000"}


def test_a_route_without_a_login_does_not_learn_what_opens_the_others(
    bascule: RunningBascule, upstream: RawUpstream, clients: Clients
) -> None:
    token = _token()
    call = _asked(upstream, clients, bascule.public_url, b"/anybody", b"Cookie: proxy_session=" + token)
    assert token not in call.head


@pytest.mark.parametrize(
    "cookie",
    [
        pytest.param(None, id="none"),
        pytest.param(b"", id="empty"),
        pytest.param(b"not.a.token", id="garbage"),
        pytest.param(_token("x" * 128), id="another-key"),
        pytest.param(_token(aud="OTHER"), id="another-audience"),
        pytest.param(_token(exp=int(time.time()) - 7200), id="expired"),
        pytest.param(_token(sub=""), id="nobody"),
        pytest.param(
            jwt.encode({"sub": "a", "aud": "PROXY", "exp": 1 << 33}, "", algorithm="none").encode(),
            id="alg-none",
        ),
    ],
)
def test_a_private_route_stays_closed_without_a_good_cookie(
    bascule: RunningBascule, upstream: RawUpstream, clients: Clients, cookie: bytes | None
) -> None:  # 52
    heard = upstream.connections
    figures = Figures(bascule)
    client = clients(bascule.public_url)
    more = [] if cookie is None else [b"Cookie: proxy_session=" + cookie]
    client.send(upgrade(b"/private", *more))
    answer = client.head()
    assert answer.status == 401
    assert answer.value(b"WWW-Authenticate") == b'Cookie realm="bascule", cookie-name=proxy_session'
    client.goodbye()
    assert upstream.connections == heard
    moved = figures.moved()
    assert moved.get('bascule_refusals_total{reason="handshake"}') == 1
    if cookie:
        assert cookie.decode() not in bascule.process.log.read_text()


def test_users_who_share_an_address_are_not_held_for_each_other(
    bascule: RunningBascule, clients: Clients
) -> None:
    figures = Figures(bascule)
    for user in ("first", "second", "second"):
        client = clients(bascule.public_url)
        client.send(upgrade(b"/private/gone", b"Cookie: proxy_session=" + _token(sub=user)))
        assert client.head().status == 101
        assert client.refusal().code == 1013
        client.goodbye()
    figures.settle({"ws_upstream_connect_failures_total": 3, "bascule_refusals_held_total": 1})


# -- the ceiling of a route -----------------------------------------------------------------------


def test_a_route_may_have_a_frame_ceiling_of_its_own(
    bascule: RunningBascule, upstream: RawUpstream, clients: Clients
) -> None:
    client = clients(bascule.public_url)
    client.open(b"/small/x")
    client.send(frame(TEXT, b"x" * 1000, key=KEY))
    assert len(client.frame().payload) == 1000
    client.send(header(BINARY, 1001, key=KEY))
    said = client.refusal()
    assert (said.code, said.reason) == (1009, b"Frame exceeds incomingBufferBytes (1000)")
