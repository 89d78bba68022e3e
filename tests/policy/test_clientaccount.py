"""Upstreams are told of the client what we know, and of others only what trusted proxies say."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bascule.policy.clientaccount import Arrival, seen_by_browser
from bascule.policy.clientaddress import client_address
from bascule.policy.forwarding import forwarded_fields
from tests.policy.forwarded import BROWSER_FIELDS, FRONT, NGINX, NOBODY, arrived, names, send, value

if TYPE_CHECKING:
    from bascule.policy.clientaddress import TrustedProxies
    from bascule.policy.fieldlines import Fields


def test_the_account_of_the_client_is_written_for_a_direct_browser() -> None:
    sent = send(BROWSER_FIELDS, prefix=b"/apps/p/a", via=b"1.1 bascule")
    assert sent[len(BROWSER_FIELDS) - 1 :] == [
        (b"X-Forwarded-For", b"192.0.2.7"),
        (b"X-Forwarded-Proto", b"http"),
        (b"X-Real-IP", b"192.0.2.7"),
        (b"X-Forwarded-Host", b"hops.example.org"),
        (b"X-Forwarded-Prefix", b"/apps/p/a"),
        (b"Via", b"1.1 bascule"),
    ]


@pytest.mark.parametrize(
    "name",
    [
        b"X-Forwarded-For",
        b"X-Forwarded-Proto",
        b"X-Forwarded-Host",
        b"X-Forwarded-Prefix",
        b"X-Forwarded-User",
        b"X-Forwarded-Port",
        b"X-Forwarded",
        b"x-forwarded-SSL",
        b"Forwarded",
        b"X-Real-IP",
        b"X-Scheme",
        b"True-Client-IP",
        b"Client-IP",
        b"Front-End-Https",
        b"X-Original-URL",
    ],
)
def test_an_untrusted_peer_is_not_believed(name: bytes) -> None:
    sent = send([(b"Host", b"a"), (name, b"spoofed"), (name, b"spoofed")])
    assert b"spoofed" not in b"".join(content for _, content in sent)


def test_a_trusted_peer_is_believed_and_appended_to() -> None:
    fields = [
        (b"X-Forwarded-For", b"203.0.113.9"),
        (b"X-Forwarded-For", b"10.9.9.9"),
        (b"X-Forwarded-Proto", b"https"),
        (b"X-Forwarded-Host", b"public.example.org"),
        (b"X-Forwarded-Prefix", b"/outer/"),
        (b"X-Forwarded-Port", b"443"),
        (b"X-Forwarded-User", b"ada"),
        (b"X-Scheme", b"https"),
        (b"Front-End-Https", b"on"),
        (b"Client-IP", b"203.0.113.9"),
        (b"Via", b"1.1 nginx"),
    ]
    sent = send(fields, peer="10.0.0.1", trusted=NGINX, prefix=b"/inner", via=b"1.1 bascule")
    assert value(sent, b"x-forwarded-for") == b"203.0.113.9, 10.9.9.9, 10.0.0.1"
    assert value(sent, b"x-forwarded-proto") == b"https"
    assert value(sent, b"x-forwarded-host") == b"public.example.org"
    assert value(sent, b"x-forwarded-prefix") == b"/outer/inner"
    assert value(sent, b"x-forwarded-port") == b"443"
    assert value(sent, b"x-forwarded-user") == b"ada"
    assert value(sent, b"x-scheme") == b"https"
    assert value(sent, b"front-end-https") == b"on"
    assert value(sent, b"client-ip") == b"203.0.113.9"
    assert value(sent, b"x-real-ip") == b"203.0.113.9"
    assert value(sent, b"via") == b"1.1 nginx, 1.1 bascule"


def test_real_ip_of_a_trusted_peer_is_still_computed_by_us() -> None:
    fields = [(b"X-Real-IP", b"1.2.3.4"), (b"X-Forwarded-For", b"1.2.3.4, 203.0.113.9")]
    assert value(send(fields, peer="10.0.0.1", trusted=NGINX), b"x-real-ip") == b"203.0.113.9"


def test_forwarded_of_a_trusted_peer_gets_our_element() -> None:
    sent = send([(b"Forwarded", b"for=203.0.113.9;proto=https")], peer="fd00::1", trusted=NGINX)
    assert value(sent, b"forwarded") == (
        b'for=203.0.113.9;proto=https, for="[fd00::1]";host="hops.example.org";proto=http'
    )


@pytest.mark.parametrize(
    ("peer", "fields", "proto"),
    [
        ("10.0.0.1", [(b"X-Scheme", b"https")], b"https"),
        ("10.0.0.1", [(b"x-scheme", b"http, HTTPS")], b"https"),
        ("10.0.0.1", [(b"X-Scheme", b"gopher")], b"http"),
        ("10.0.0.1", [(b"X-Scheme", b"https"), (b"X-Forwarded-Proto", b"http")], b"http"),
        ("10.0.0.1", [(b"X-Scheme", b"https"), (b"X-Forwarded-Proto", b"")], b"http"),
        ("192.0.2.7", [(b"X-Scheme", b"https")], b"http"),
    ],
)
def test_the_upstream_is_told_the_scheme_that_origins_are_compared_with(
    peer: str, fields: Fields, proto: bytes
) -> None:
    sent = send(fields, peer=peer, trusted=NGINX)
    assert value(sent, b"x-forwarded-proto") == proto
    assert seen_by_browser(arrived(peer), NGINX, fields)[0] == proto
    assert (b"x-scheme" in names(sent)) is (peer in NGINX)


def test_our_element_of_forwarded_keeps_the_scheme_by_which_we_were_reached() -> None:
    fields = [(b"Forwarded", b"for=x;proto=https"), (b"X-Scheme", b"https")]
    assert (value(send(fields, peer="10.0.0.1", trusted=NGINX), b"forwarded") or b"").endswith(b"proto=http")


def test_a_host_with_quotes_stays_inside_its_quotes() -> None:
    sent = send([(b"Forwarded", b"for=x")], "127.0.0.1", NGINX, host=b'a";for="b\\')
    assert value(sent, b"forwarded") == b'for=x, for="127.0.0.1";host="a\\";for=\\"b\\\\";proto=http'


def test_our_element_of_forwarded_names_the_host_that_we_were_asked_for() -> None:
    fields = [(b"Forwarded", b"for=x"), (b"X-Forwarded-Host", b"outer, middle")]
    sent = send(fields, "127.0.0.1", NGINX, host=b"inner")
    assert (b"Forwarded", b'for=x, for="127.0.0.1";host="inner";proto=http') in sent
    assert (b"X-Forwarded-Host", b"outer, middle") in sent


def test_the_prefix_is_absent_unless_something_was_stripped() -> None:
    assert b"x-forwarded-prefix" not in names(send(BROWSER_FIELDS))
    assert b"x-forwarded-prefix" not in names(send([(b"Via", b"1.0 a")]))
    assert b"via" not in names(send(BROWSER_FIELDS))


@pytest.mark.parametrize("fields", [[], [(b"Via", b"1.0 a")]])
def test_a_request_without_host_gets_no_invented_one(fields: Fields) -> None:
    sent = send(fields, host=b"")
    assert not names(sent) & {b"host", b"x-forwarded-host"}


def test_via_of_an_untrusted_peer_stays_since_it_only_tells_loops() -> None:
    assert (
        value(send([(b"Via", b"1.1 a"), (b"via", b"1.1 b")], via=b"1.1 c"), b"via") == b"1.1 a, 1.1 b, 1.1 c"
    )


def test_a_client_that_is_known_already_is_not_looked_for_again() -> None:
    fields = [(b"X-Forwarded-For", b"203.0.113.9")]
    arrival = Arrival("10.0.0.1", "203.0.113.8", b"http", b"in")
    sent = forwarded_fields(arrival, NGINX, fields)
    assert value(sent, b"x-real-ip") == b"203.0.113.8"
    assert value(sent, b"x-forwarded-for") == b"203.0.113.9, 10.0.0.1"


@pytest.mark.parametrize(
    ("peer", "fields", "seen"),
    [
        ("192.0.2.7", [(b"X-Forwarded-Proto", b"https"), (b"X-Forwarded-Host", b"evil")], (b"http", b"in")),
        ("10.0.0.1", [], (b"http", b"in")),
        ("10.0.0.1", [(b"X-Forwarded-Proto", b"https")], (b"https", b"in")),
        (
            "10.0.0.1",
            [(b"X-Forwarded-Proto", b"http, HTTPS"), (b"x-forwarded-host", b"a, b")],
            (b"https", b"b"),
        ),
        ("10.0.0.1", [(b"X-Forwarded-Proto", b"gopher"), (b"x-forwarded-host", b"")], (b"http", b"in")),
        ("10.0.0.1", [(b"X-Scheme", b"https")], (b"https", b"in")),
        ("10.0.0.1", [(b"X-Scheme", b"https"), (b"X-Forwarded-Proto", b"http")], (b"http", b"in")),
        ("192.0.2.7", [(b"X-Scheme", b"https")], (b"http", b"in")),
    ],
)
def test_what_the_browser_sees_is_believed_from_trusted_proxies(
    peer: str, fields: Fields, seen: tuple[bytes, bytes]
) -> None:
    assert seen_by_browser(arrived(peer), NGINX, fields) == seen


@pytest.mark.parametrize(
    ("said", "client"),
    [
        ([], "unix:"),
        ([b"203.0.113.9"], "203.0.113.9"),
        ([b"1.2.3.4, 203.0.113.9, 10.1.1.1"], "203.0.113.9"),
        ([b"unix:"], "unix:"),
        ([b"203.0.113.9", b"unix:"], "unix:"),
    ],
)
def test_the_client_is_the_one_that_the_proxy_at_the_socket_names(said: list[bytes], client: str) -> None:
    fields = [(b"X-Forwarded-For", each) for each in said]
    assert client_address("unix:", fields, FRONT) == client
    assert client_address("unix:", fields, NOBODY) == "unix:"


def test_an_upstream_is_told_the_client_and_nothing_of_the_socket() -> None:
    fields = [
        (b"X-Forwarded-For", b"203.0.113.9"),
        (b"X-Forwarded-Proto", b"https"),
        (b"Forwarded", b"for=203.0.113.9"),
    ]
    sent = send(fields, "unix:", FRONT, via=b"1.1 us")
    assert value(sent, b"x-forwarded-for") == b"203.0.113.9"
    assert value(sent, b"x-real-ip") == b"203.0.113.9"
    assert value(sent, b"x-forwarded-proto") == b"https"
    assert value(sent, b"forwarded") == (b'for=203.0.113.9, for="unknown";host="hops.example.org";proto=http')
    assert seen_by_browser(arrived("unix:", host=b"ours"), FRONT, fields) == (b"https", b"ours")


@pytest.mark.parametrize("trusted", [NOBODY, FRONT])
@pytest.mark.parametrize("via", [[], [(b"Via", b"1.1 somebody")]])
def test_without_an_address_upstreams_are_told_none(
    trusted: TrustedProxies, via: list[tuple[bytes, bytes]]
) -> None:
    said = [] if trusted is FRONT else [(b"X-Forwarded-For", b"1.2.3.4"), (b"X-Real-IP", b"1.2.3.4")]
    sent = send([*said, *via], "unix:", trusted, via=b"1.1 us")
    assert value(sent, b"x-forwarded-for") is None
    assert value(sent, b"x-real-ip") is None
    assert value(sent, b"x-forwarded-proto") == b"http"
