"""A redirect of an upstream whose prefix is stripped stays below the prefix, and no other is changed."""

from __future__ import annotations

from urllib.parse import urljoin, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule.configuration.route import RouteConfig
from bascule.configuration.templates import UpstreamTemplate
from bascule.policy.location import inside_prefix, kept_inside
from bascule.policy.routes import Match

PREFIX = b"/apps/demo"
UPSTREAM = b"demo.svc:8501"
HOST = b"front.example"


def told(location: bytes, target: bytes = b"/items?x=1", upstream: bytes = UPSTREAM) -> bytes:
    return inside_prefix(location, PREFIX, upstream=upstream, host=HOST, target=target)


def led(prefix: bytes) -> Match:
    """Return where a request led, with what was stripped there."""
    route = RouteConfig(name="app", path="/apps/demo/", upstream="http://demo.svc:8501", strip_prefix=True)
    address = UpstreamTemplate.parse(route.upstream, {}).address({})
    assert address is not None
    return Match(route, address, b"/", prefix, None)


@pytest.mark.parametrize(
    ("location", "wanted"),
    [
        (b"/", b"/apps/demo/"),
        (b"/login?next=/apps/demo/", b"/apps/demo/login?next=/apps/demo/"),
        (b"/apps/demonstration", b"/apps/demo/apps/demonstration"),
        (b"/apps", b"/apps/demo/apps"),
        (b"/\\evil.example/", b"/apps/demo/\\evil.example/"),
        (b"/caf\xc3\xa9", b"/apps/demo/caf\xc3\xa9"),
        (b"http://demo.svc:8501/login", b"/apps/demo/login"),
        (b"HTTP://Demo.SVC:8501", b"/apps/demo/"),
        (b"http://demo.svc:8501?a", b"/apps/demo/?a"),
        (b"http://demo.svc:8501/apps/demo/x", b"/apps/demo/x"),
        (b"http://demo.svc:8501//evil.example/", b"/apps/demo//evil.example/"),
        (b"https://front.example/items/", b"https://front.example/apps/demo/items/"),
        (b"http://Front.example:80/items/?x=1#y", b"http://Front.example:80/apps/demo/items/?x=1#y"),
    ],
)
def test_what_an_upstream_means_by_its_root_is_below_the_prefix(location: bytes, wanted: bytes) -> None:
    assert told(location) == wanted


def test_a_slash_that_is_taken_away_is_the_same_page() -> None:
    assert told(b"http://front.example/items", b"/items/") == b"http://front.example/apps/demo/items"


def test_an_address_may_name_the_port_of_its_scheme() -> None:
    assert told(b"http://demo.svc:80/x", upstream=b"demo.svc") == b"/apps/demo/x"
    assert told(b"https://demo.svc:443/x", upstream=b"demo.svc") == b"/apps/demo/x"
    assert told(b"https://demo.svc:80/x", upstream=b"demo.svc") == b"https://demo.svc:80/x"


@pytest.mark.parametrize(
    "location",
    [
        b"/apps/demo",
        b"/apps/demo/",
        b"/apps/demo?x",
        b"/apps/demo#x",
        b"/apps/demo/login",
        b"",
        b"login",
        b"./login",
        b"../login",
        b"?x=1",
        b"#x",
        b"//other.example/items/",
        b"//demo.svc:8501/",
        b"https://other.example/items/",
        b"https://front.example/",
        b"https://front.example/items",
        b"https://front.example/login",
        b"https://front.example.evil/items/",
        b"https://front.example@evil.example/items/",
        b"http://demo.svc:85010/",
        b"mailto:somebody@example.org",
        b"javascript:alert(1)",
        b"\\\\other.example/",
    ],
)
def test_everything_else_stays_as_it_was_said(location: bytes) -> None:
    assert told(location) == location


characters = "/abc?#:@%\\-demo\u00e9"
"""Without a dot: what goes up from the root goes up from the prefix, too."""
words = st.lists(
    st.sampled_from(
        ["/", "//", "http:", "https:", "demo.svc:8501", "front.example", "items", "apps", "demo", ":80"]
    )
    | st.text(st.sampled_from(characters), max_size=4),
    max_size=8,
).map("".join)


@given(words, st.sampled_from([b"/items", b"/items/", b"/"]))
def test_whatever_is_said_the_prefix_is_put_in_once_and_nothing_else_is_changed(
    said: str, target: bytes
) -> None:
    location = said.encode()
    now = told(location, target)

    if now != location:
        assert PREFIX in now
        assert location.endswith(now.partition(PREFIX)[2].removeprefix(b"/"))
        seen = urlsplit(urljoin("https://front.example/apps/demo/items", now.decode()))
        assert seen.netloc.lower().removesuffix(":80").removesuffix(":443") == "front.example"
        assert (seen.path + "/").startswith("/apps/demo/")
    assert told(now, target) == now


def test_of_an_answers_fields_location_alone_is_changed_whatever_its_case() -> None:
    fields = [(b"Refresh", b"/a"), (b"LOCATION", b"/a"), (b"Set-Cookie", b"a=1; Path=/"), (b"location", b"b")]

    kept = kept_inside(fields, led(PREFIX), PREFIX, HOST)

    assert kept == [fields[0], (b"LOCATION", PREFIX + b"/a"), *fields[2:]]


def test_what_a_proxy_in_front_stripped_is_put_in_with_our_own_prefix() -> None:
    kept = kept_inside([(b"Location", b"/a")], led(PREFIX), b"/outer" + PREFIX, HOST)

    assert kept == [(b"Location", b"/outer" + PREFIX + b"/a")]


def test_nothing_is_changed_where_no_prefix_is_stripped() -> None:
    fields = [(b"Location", b"/a")]

    assert kept_inside(fields, led(b""), b"/outer", HOST) == fields
