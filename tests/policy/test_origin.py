from __future__ import annotations

import pytest

from bascule.policy.origin import origin_allowed, why_refused


@pytest.mark.parametrize(
    ("origin", "host", "scheme"),
    [
        (b"http://good.example", b"good.example", b"http"),
        (b"https://good.example", b"good.example", b"https"),
        (b"HTTPS://Good.Example", b"gOOD.eXAMPLE", b"https"),
        (b"https://good.example", b"good.example:443", b"https"),
        (b"https://good.example:443", b"good.example", b"https"),
        (b"http://good.example:80", b"good.example", b"http"),
        (b"http://good.example:8080", b"good.example:8080", b"http"),
        (b"http://127.0.0.1:8080", b"127.0.0.1:8080", b"http"),
        (b"http://[::1]:8080", b"[::1]:8080", b"http"),
        (b"https://good.example", b"good.example", b"wss"),
        (b"http://good.example:80", b"good.example", b"ws"),
    ],
)
def test_the_same_origin_is_allowed(origin: bytes, host: bytes, scheme: bytes) -> None:
    assert origin_allowed(origin, host, scheme, ())


def test_a_host_that_no_origin_can_have_is_refused_even_in_an_equal_origin() -> None:
    for host in (b"a;b", b"%41", b"user@h", b"", b"h:"):
        assert not origin_allowed(b"https://" + host, host, b"https", ())


@pytest.mark.parametrize(
    "origin",
    [
        b"null",
        b"",
        b" ",
        b"*",
        b"good.example",
        b"//good.example",
        b"https://evil.example",
        b"https://good.example.evil",
        b"https://good.evil",
        b"https://evilgood.example",
        b"https://sub.good.example",
        b"https://good.example:8443",
        b"https://good.example:",
        b"https://good.example.",
        b"http://good.example",
        b"http://good.example:443",
        b"file://",
        b"file://good.example",
        b"https://good.example/",
        b"https://good.example/path",
        b"https://good.example?",
        b"https://good.example#",
        b"https://user@good.example",
        b"https://good.example@evil.example",
        b"https://evil.example\\@good.example",
        b"https://good.example https://evil.example",
        b"https://evil.example, https://good.example",
        b"https://good.example, https://good.example",
        b"https://good.example\x00.evil",
        b"https://good.example\n",
        b"https://good.ex\xe4mple",
        b"https://good.example:443443443",
        b"https://[good.example]",
    ],
)
def test_a_foreign_or_malformed_origin_is_refused(origin: bytes) -> None:
    assert not origin_allowed(origin, b"good.example", b"https", ("https://listed.example",))


def test_a_missing_origin_is_allowed_since_no_browser_leaves_it_out() -> None:
    assert origin_allowed(None, b"good.example", b"https", ())


@pytest.mark.parametrize("host", [b"", b"good.example/", b"a,b", b"user@good.example", b"good.example:x"])
def test_a_malformed_host_is_nobodys_origin(host: bytes) -> None:
    assert not origin_allowed(b"https://good.example", host, b"https", ())


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        (b"https://app.example", True),
        (b"https://app.example:443", True),
        (b"https://APP.example", True),
        (b"https://app.example:8443", False),
        (b"http://app.example", False),
        (b"https://sub.app.example", False),
        (b"http://local:3000", True),
        (b"null", False),
    ],
)
def test_listed_origins_are_compared_whole(origin: bytes, allowed: bool) -> None:
    listed = ("https://app.example", "http://local:3000", "null", "https://*.example", "https://x/")
    assert origin_allowed(origin, b"other.example", b"https", listed) is allowed


@pytest.mark.parametrize("origin", [b"https://anything.example", b"null", b"", b"https://a, https://b"])
def test_a_star_allows_every_origin(origin: bytes) -> None:
    assert origin_allowed(origin, b"other.example", b"https", ("https://a.example", "*"))


@pytest.mark.parametrize(
    ("origin", "host", "hint"),
    [
        (b"https://good.example", b"good.example", True),
        (b"https://good.example:8443", b"good.example:8443", True),
        (b"https://evil.example", b"good.example", False),
        (b"https://good.example", b"good.example:8080", False),
        (b"http://good.example", b"good.example", False),
        (b"null", b"good.example", False),
        (b"null", b"", False),
        (None, b"good.example", False),
    ],
)
def test_a_proxy_that_ends_tls_and_is_not_trusted_is_named_as_the_reason(
    origin: bytes | None, host: bytes, hint: bool
) -> None:
    said = why_refused(origin, host)
    assert [name in said for name in ("trustedProxies", "allowedOrigins")] == [hint, hint]
