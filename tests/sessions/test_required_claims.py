"""Whose route it is: a login opens the path with its own name, however that is spelt and asked for."""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING

import jwt
import pytest

from tests.support.bascule import RunningBascule, run_bascule
from tests.support.figures import Figures
from tests.support.rawclient import upgrade
from tests.support.rawupstream import RawUpstream, page_or_echo, run_upstream
from tests.support.waiting import eventually

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator

    from tests.support.certificates import Certificate
    from tests.support.rawclient import Clients, RawClient

pytestmark = pytest.mark.usefixtures("calm")

SIGNING_KEY = secrets.token_hex(64)
SECRET = "nobody-may-read-this"
OWNED = {"sub": "{user}"}
PATTERN = "([A-Za-z0-9@-]|%[A-F][0-9A-F])+"
WAYS = ["first", "later", "page", "post"]
"""How a browser asks: an upgrade that is the first request of its connection is read by other code."""


@pytest.fixture(scope="module")
def upstream() -> Iterator[RawUpstream]:
    with run_upstream() as running:
        running.scripts[b"/"] = page_or_echo
        yield running


@pytest.fixture(scope="module", params=["plain", "tls"])
def bascule(
    request: pytest.FixtureRequest,
    upstream: RawUpstream,
    certificate: Certificate,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[RunningBascule]:
    home = tmp_path_factory.mktemp("bascule")
    (home / "key").write_text(SIGNING_KEY)

    def private(name: str, path: str, **more: object) -> dict[str, object]:
        return {"name": name, "path": path, "upstream": upstream.url, "auth": "session", **more}

    config: dict[str, object] = {
        "routes": [
            {"name": "all", "path": "/", "upstream": upstream.url},
            private("user", "/user/{user}/", where={"user": PATTERN}, requiredClaims=OWNED),
            private("staff", "/staff/", requiredClaims={"roles": ["admin", "staff"]}),
            private("terminal", "/terminal/", audiences=["TERMINAL", "PROXY"]),
        ],
        "forwarders": {"count": 1},
        "auth": {"session": {"keyFile": str(home / "key")}},
        "limits": {"closingHandshakeTimeout": "300ms"},
        "log": {"level": "debug"},
    }
    if request.param == "tls":
        config["tls"] = certificate.block()
    with run_bascule(home, config) as running:
        yield running


def _cookie(**claims: object) -> bytes:
    whole = {"sub": "ada", "aud": "PROXY", "exp": int(time.time()) + 3600, "email": SECRET, **claims}
    return b"Cookie: proxy_session=" + jwt.encode(whole, SIGNING_KEY, algorithm="HS512").encode()


def _status(client: RawClient, way: str, target: bytes, cookie: bytes) -> int:
    """Ask in one of `WAYS`; 101 and 200 are one thing here: the upstream has answered."""
    if way == "later":
        client.send(b"GET /staff/ HTTP/1.1\r\nHost: front\r\n\r\n")
        assert client.answer().status == 401
    if way in ("first", "later"):
        client.send(upgrade(target, cookie))
    else:
        method = b"GET" if way == "page" else b"POST"
        client.send(b"%b %b HTTP/1.1\r\nHost: front\r\n%b\r\n" % (method, target, cookie + b"\r\n"))
    status = client.head().status
    return 200 if status == 101 else status


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("target", "user", "status"),
    [
        (b"/user/ada/lab", "ada", 200),
        (b"/user/%61d%61/lab", "ada", 200),
        (b"http://front/user/ada/lab", "ada", 200),
        (b"/user/J%C3%BCrgen/lab", "J\u00fcrgen", 200),
        (b"/user/bob/lab", "ada", 403),
        (b"/user/Ada/lab", "ada", 403),
        (b"/user/bob/lab?user=ada", "ada", 403),
        (b"/user/bob/user/ada/", "ada", 403),
        (b"/user/%C3/", "\ufffd", 403),
        (b"/user/ada%2F..%2Fbob/", "ada", 400),
        (b"/user/ada/../bob/", "ada", 400),
        (b"/user/ada;/bob/", "ada", 400),
        (b"/user/%2561da/", "ada", 400),
        (b"/user//ada/", "ada", 400),
    ],
)
def test_a_user_passes_with_his_own_name_only(
    bascule: RunningBascule,
    upstream: RawUpstream,
    clients: Clients,
    context: ssl.SSLContext | None,
    way: str,
    target: bytes,
    user: str,
    status: int,
) -> None:
    heard = upstream.connections
    client = clients(bascule.public_url, context)
    assert _status(client, way, target, _cookie(sub=user)) == status
    assert (upstream.connections > heard) == (status == 200)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("roles", "status"), [(["guest", "staff"], 200), ("admin", 200), (["guest"], 403), (None, 403)]
)
def test_one_of_several_values_suffices(
    bascule: RunningBascule,
    clients: Clients,
    context: ssl.SSLContext | None,
    way: str,
    roles: object,
    status: int,
) -> None:
    client = clients(bascule.public_url, context)
    assert _status(client, way, b"/staff/x", _cookie(roles=roles)) == status


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("audience", "terminal", "others"),
    [("PROXY", 200, 200), ("TERMINAL", 200, 401), (["TERMINAL", "X"], 200, 401), ("X", 401, 401)],
)
def test_a_token_for_one_route_opens_no_other(
    bascule: RunningBascule,
    clients: Clients,
    context: ssl.SSLContext | None,
    way: str,
    audience: object,
    terminal: int,
    others: int,
) -> None:
    for target, status in ((b"/terminal/1/ws", terminal), (b"/user/ada/", others)):
        client = clients(bascule.public_url, context)
        assert _status(client, way, target, _cookie(aud=audience)) == status


def test_who_was_turned_away_is_counted_and_logged_and_the_token_is_not(
    bascule: RunningBascule, clients: Clients, context: ssl.SSLContext | None
) -> None:
    figures, before = Figures(bascule), len(bascule.events("session refused"))
    for way in ("first", "page"):
        client = clients(bascule.public_url, context)
        assert _status(client, way, b"/user/bob/lab", cookie := _cookie(sub="eve")) == 403
        client.close()

    assert figures.moved()['bascule_refusals_total{reason="not_permitted"}'] == 1
    (refused,) = bascule.events("session refused")[before:]
    assert (refused["reason"], refused["status"], refused["route"]) == ("not_permitted", 403, "user")
    assert refused["user"] == "eve"
    assert '"sub"' in refused["detail"]
    assert bascule.events("request refused")[-1]["detail"] == refused["detail"]
    assert "user" not in bascule.events("request refused")[-1]
    log = bascule.process.log.read_text()
    assert SECRET not in log
    assert cookie.decode() not in log


def test_at_level_debug_a_page_that_was_answered_is_logged_and_its_token_is_not(
    bascule: RunningBascule, clients: Clients, context: ssl.SSLContext | None
) -> None:
    cookie = _cookie(sub="ada")
    assert _status(clients(bascule.public_url, context), "page", b"/user/ada/lab", cookie) == 200

    def told() -> bool:
        lines = bascule.events("request answered")
        return any((line["method"], line["status"]) == ("GET", 200) for line in lines)

    eventually(told, 10, "its line")
    assert cookie.decode() not in bascule.process.log.read_text()
