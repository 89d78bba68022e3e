"""Where a request is told to go instead: to https, or to the same page with its slash."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule.configuration.route import RouteConfig
from bascule.policy.redirecting import https_location, redirect_status, slash_location
from bascule.policy.routes import BadTarget, RouteTable


@pytest.mark.parametrize(
    ("target", "host", "port", "location"),
    [
        (b"/", b"hub.example", 443, b"https://hub.example/"),
        (b"/", b"hub.example", 8443, b"https://hub.example:8443/"),
        (b"/lab?token=a%2Fb&c", b"hub.example:8000", 443, b"https://hub.example/lab?token=a%2Fb&c"),
        (b"/", b"hub.example:", 8443, b"https://hub.example:8443/"),
        (b"/", b"[::1]:80", 8443, b"https://[::1]:8443/"),
        (b"/", b"[::1]", 443, b"https://[::1]/"),
        (b"http://other.example:80/a", b"hub.example", 443, b"https://other.example/a"),
        (b"/a%2Fb;c", b"h", 443, b"https://h/a%2Fb;c"),
    ],
)
def test_it_is_the_same_place_by_https(target: bytes, host: bytes, port: int, location: bytes) -> None:
    assert https_location(target, host, port) == location


@pytest.mark.parametrize("host", [b"", b":80", b"a b", b"a/b", b"a\r\nX: y", b"user@host", b"[::1"])
def test_without_a_valid_host_there_is_none(host: bytes) -> None:
    assert https_location(b"/", host, 443) is None


@pytest.mark.parametrize("target", [b"/../a", b"//evil.example/", b"/a\r\nX: y", b"*", b"/a b"])
def test_a_path_that_is_refused_there_is_refused_here(target: bytes) -> None:
    with pytest.raises(BadTarget):
        https_location(target, b"hub.example", 443)


@given(st.binary(max_size=40), st.binary(max_size=40), st.sampled_from([443, 8443]))
def test_whatever_comes_leads_to_the_host_it_came_to(target: bytes, host: bytes, port: int) -> None:
    try:
        location = https_location(b"/" + target, host, port)
    except BadTarget:
        return
    if location is not None:
        shown = location.decode("ascii")
        assert shown.isprintable()
        assert " " not in shown
        found = urlsplit(shown)
        assert found.scheme == "https"
        assert (found.netloc + ":").startswith(host.partition(b":")[0].decode() or "[")


@pytest.mark.parametrize(
    ("method", "status"), [("GET", 301), ("HEAD", 301), ("POST", 308), ("DELETE", 308), ("PUT", 308)]
)
def test_what_has_more_than_an_address_keeps_its_method(method: str, status: int) -> None:
    assert redirect_status(method) == status


@pytest.mark.parametrize(
    ("target", "location"),
    [
        (b"/apps/demo", b"./demo/"),
        (b"/apps/demo?a=/b?c", b"./demo/?a=/b?c"),
        (b"/apps/%64emo", b"./%64emo/"),
        (b"http://h/apps/demo?x", b"./demo/?x"),
        (b"/apps/demo/", None),
        (b"/apps/demo/?x=/apps/demo", None),
        (b"/apps/demo/apps/demo", None),
        (b"/apps/demos", None),
        (b"/kept", None),
        (b"/", None),
    ],
)
def test_a_prefix_that_is_stripped_leads_to_itself_with_its_slash(
    target: bytes, location: bytes | None
) -> None:
    routes = RouteTable(
        [
            RouteConfig(name="demo", path="/apps/demo/", upstream="http://demo", strip_prefix=True),
            RouteConfig(name="kept", path="/kept/", upstream="http://kept"),
            RouteConfig(name="root", path="/", upstream="http://root", strip_prefix=True),
        ]
    )
    match = routes.match(target)

    assert match is not None
    assert slash_location(target, match) == location
