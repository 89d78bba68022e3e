"""What every request is judged by, in which order, and what is told to the upstream."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from bascule.configuration.config import Config
from bascule.configuration.hubroute import HubRoute
from bascule.configuration.templates import UpstreamAddress
from bascule.errors import RequestRefused
from bascule.policy.clientaccount import Arrival
from bascule.policy.login import NOBODY, Login
from bascule.policy.requestrules import RequestRules
from bascule.policy.routes import RouteTable

if TYPE_CHECKING:
    from bascule.policy.routes import Match

OURS = b"bascule-12345678"
CLOSED, OPEN, UNREADABLE, NOWHERE = b"/closed/x", b"/open/x", b"/closed/../x", b"/nowhere"


def require(cookies: list[bytes], match: Match) -> Login:
    """Admit whoever says a name."""
    assert match.route.name == "closed"
    if not cookies:
        raise RequestRefused(401, "Unauthorized access.")
    return Login(cookies[0].decode(), 7)


def new_rules(**config: Any) -> RequestRules:
    settings = Config.model_validate(
        {
            "routes": [
                {"name": "closed", "path": "/closed", "upstream": "http://app:1", "auth": "session"},
                {"name": "open", "path": "/open", "upstream": "http://app:2", "stripPrefix": True},
            ],
            "auth": {"session": {"keyFile": "/nonexistent", "cookie": "ours"}},
            **config,
        }
    )
    return RequestRules(settings, RouteTable(settings.routes), require, OURS)


def judged(target: bytes, *fields: tuple[bytes, bytes], via: list[bytes] | None = None) -> int:
    """Return the status of the first refusal; 0 for none."""
    rules = new_rules()
    try:
        match, _ = rules.find(target, b"front", via or [])
        rules.login(match, fields)
    except RequestRefused as refused:
        return refused.status
    return 0


@pytest.mark.parametrize(
    ("target", "via", "status"),
    [
        (UNREADABLE, [b"1.1 " + OURS], 508),
        (NOWHERE, [b"1.1 other, 1.0 " + OURS], 508),
        (CLOSED, [b"1.1 other", b"1.1 " + OURS], 508),
        (UNREADABLE, [], 400),
        (NOWHERE, [], 404),
        (CLOSED, [b"1.1 other"], 401),
        (OPEN, [b"1.1 other"], 0),
    ],
)
def test_a_loop_comes_before_the_route_and_the_route_before_credentials(
    target: bytes, via: list[bytes], status: int
) -> None:
    assert judged(target, via=via) == status


def test_a_login_opens_what_asks_for_one() -> None:
    rules = new_rules()
    closed, _ = rules.find(CLOSED, b"front", [])
    assert rules.login(closed, [(b"Host", b"front"), (b"COOKIE", b"ada")]) == Login("ada", 7)


def test_where_nobody_asks_a_login_says_nothing() -> None:
    rules = new_rules()
    match, _ = rules.find(OPEN, b"front", [])
    assert rules.login(match, [(b"Cookie", b"ada")]) == NOBODY


@pytest.mark.parametrize("user", ["ada", None])
def test_on_a_route_of_jupyterhub_a_request_is_for_the_owner_of_the_server(user: str | None) -> None:
    rules = new_rules()
    match, _ = rules.find(OPEN, b"front", [])
    hub_route = HubRoute("/user/x", {}, UpstreamAddress("http", "app", 1, b"app:1"), b"", 2, user, 0.0)
    assert rules.login(match._replace(hub_route=hub_route), []) == Login(user, None)


def test_the_host_of_the_target_counts_whatever_the_field_says() -> None:
    rules = new_rules()
    assert rules.find(OPEN, b"front", [])[1] == b"front"
    match, host = rules.find(b"http://other:81/open/x", b"front", [])
    assert host == b"other:81"
    fields = [(b"Host", b"front"), (b"A", b"b")]
    sent = rules.onward(match, Arrival("10.0.0.1", "10.0.0.1", b"http", host), fields, 1)
    assert [value for name, value in sent if name == b"Host"] == [b"other:81"]
    assert (b"X-Forwarded-Host", b"other:81") in sent


@pytest.mark.parametrize(("minor", "version"), [(0, b"1.0 "), (1, b"1.1 "), (2, b"1.1 ")])
def test_the_upstream_is_told_whose_the_request_is_and_not_what_opens_the_route(
    minor: int, version: bytes
) -> None:
    rules = new_rules()
    match, host = rules.find(OPEN, b"front", [])
    fields = [(b"Host", b"front"), (b"Cookie", b"a=1; ours=token; b=2")]
    arrival = Arrival("10.0.0.1", "10.0.0.1", b"https", host)
    assert rules.onward(match, arrival, fields, minor) == [
        (b"Host", b"front"),
        (b"Cookie", b"a=1; b=2"),
        (b"X-Forwarded-For", b"10.0.0.1"),
        (b"X-Forwarded-Proto", b"https"),
        (b"X-Real-IP", b"10.0.0.1"),
        (b"X-Forwarded-Host", b"front"),
        (b"X-Forwarded-Prefix", b"/open"),
        (b"Via", version + OURS),
    ]


def test_without_a_key_no_cookie_is_ours() -> None:
    rules = new_rules(
        auth={"session": {"cookie": "ours"}},
        routes=[{"name": "open", "path": "/open", "upstream": "http://app:2"}],
    )
    match, host = rules.find(OPEN, b"front", [])
    cookie = (b"Cookie", b"ours=token")
    assert cookie in rules.onward(match, Arrival("10.0.0.1", "10.0.0.1", b"http", host), [cookie], 1)


@pytest.mark.parametrize(("peer", "client"), [("10.0.0.1", "203.0.113.9"), ("192.0.2.1", "192.0.2.1")])
def test_a_trusted_proxy_says_who_the_client_is(peer: str, client: str) -> None:
    rules = new_rules(trustedProxies=["10.0.0.0/8"])
    fields = [(b"X-Forwarded-For", b"203.0.113.9")]
    assert rules.client(peer, fields) == client
    match, host = rules.find(OPEN, b"front", [])
    sent = rules.onward(match, Arrival(peer, client, b"http", host), fields, 1)
    assert (b"X-Real-IP", client.encode()) in sent
