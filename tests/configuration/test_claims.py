"""What a token must claim: whatever the spelling of a path, its owner passes and nobody else does."""

from __future__ import annotations

import contextlib
import re
from random import Random
from typing import Any
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bascule.configuration.claims import ClaimTemplate, Demand, first_unmet
from bascule.configuration.route import AuthMode, RouteConfig
from bascule.policy.routes import BadTarget, RouteTable

WIDE = r"(?!\.)(?:[^/%;\\]|%(?!00|2E|2F|5C|25|3B)[0-9A-F]{2})+"
"""The widest pattern that a route may have."""


def table(
    path: str = "/user/{user}/", upstream: str = "http://lab:1", pattern: str = WIDE, **claims: Any
) -> RouteTable:
    """A table with a private route below a public one."""
    where = dict.fromkeys(re.findall("{(.+?)}", path), pattern)
    private = RouteConfig(
        name="private",
        path=path,
        upstream=upstream,
        where=where,
        auth=AuthMode.SESSION,
        required_claims=claims or {"sub": ("{user}",)},
    )
    return RouteTable([private, RouteConfig(name="public", path="/", upstream="http://public:1")])


def passes(routes: RouteTable, raw: bytes, **claims: object) -> bool:
    """Tell whether the private route lets somebody through."""
    match = routes.match(raw)
    return match is not None and match.route.name == "private" and first_unmet(match.demands, claims) is None


OWNED = table()


def test_a_demand_is_met_by_the_name_in_the_path() -> None:
    assert passes(OWNED, b"/user/ada/lab?x=/user/bob/", sub="ada")
    assert not passes(OWNED, b"/user/ada/lab?x=/user/bob/", sub="bob")


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        (b"/user/%61da/", "ada"),
        (b"/user/ada%40example.org", "ada@example.org"),
        (b"/user/J%C3%BCrgen/x", "J\u00fcrgen"),
        (b"/user/a%20b/", "a b"),
        (b"/user/%7Bx%7D/", "{x}"),
        (b"http://any.host/user/ada", "ada"),
    ],
)
def test_a_name_is_compared_with_its_escapes_undone(raw: bytes, name: str) -> None:
    assert passes(OWNED, raw, sub=name)


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        (b"/user/Ada/", "ada"),
        (b"/user/ada/", "Ada"),
        (b"/user/J%C3%BCrgen/", "Ju\u0308rgen"),
        (b"/user/Ju%CC%88rgen/", "J\u00fcrgen"),
        (b"/user/%EF%BD%81da/", "ada"),
        (b"/user/%C4%B0/", "i\u0307"),
        (b"/user/ada%20/", "ada"),
        (b"/user/ada+x/", "ada x"),
        (b"/user/a/da/", "a/da"),
        (b"/user/%FF/", "\ufffd"),
        (b"/user/%FF/", "None"),
        (b"/user/%FE/", "\udcfe"),
        (b"/user/%ED%A0%80/", "\ud800"),
    ],
)
def test_another_spelling_of_a_name_is_another_name(raw: bytes, name: str) -> None:
    assert not passes(OWNED, raw, sub=name)


name = st.text(st.sampled_from("aAb1-_.@~ /;%\\\u00fc\u00dc\u0131\u0307+&=:"), min_size=1, max_size=6)
spelling = st.randoms(use_true_random=False)


def spelt(text: str, random: Random) -> bytes:
    """Write a text as a segment, each byte escaped or not, where it may stand as it is."""
    out = b""
    for byte in text.encode():
        escaped = random.choice([b"%%%02X", b"%%%02x"]) % byte
        plain = bytes([byte])
        out += escaped if byte in b" /;%\\?#" or not 0x21 <= byte <= 0x7E or random.random() < 0.4 else plain
    return out


@given(name, name, spelling)
@example("ada", "Ada", Random(0))
def test_whatever_the_spelling_only_the_owner_passes(owner: str, other: str, random: Random) -> None:
    raw = b"/user/" + spelt(owner, random) + random.choice([b"", b"/", b"/lab", b"/%2e%2e", b"/a;b//c"])
    with contextlib.suppress(BadTarget):
        match = OWNED.match(raw)
        if match is not None and match.route.name == "private":
            assert first_unmet(match.demands, {"sub": owner}) is None
            assert (first_unmet(match.demands, {"sub": other}) is None) == (owner == other)


piece = st.sampled_from(
    ["user", "ada", "bob", "Bob", "%75ser", "%62ob", "%2562ob", "b%6Fb", "..", "%2e%2e", ".", ";", ";x", "/",
     "%3B", "//", "%2F", "%252F", "\\", "%5C", "%00", "?", "#", "%", "~", "@", "%C3%BC", "%FF"]
)  # fmt: skip


@given(st.lists(piece, max_size=9))
@example(["user", "/", "ada", "/", "..;", "/", "bob"])
def test_who_passes_is_the_owner_in_every_reading_of_the_path(pieces: list[str]) -> None:
    raw = ("/" + "".join(pieces)).encode()
    with contextlib.suppress(BadTarget):
        if passes(OWNED, raw, sub="bob"):
            path = raw.partition(b"?")[0]
            for _ in range(4):
                assert path.split(b"/")[1:3] == [b"user", b"bob"] or b"%" in path
                path = unquote_to_bytes(path)
            kept = [part.partition(b";")[0] for part in path.replace(b"\\", b"/").split(b"/")]
            assert [part for part in kept if part][:2] == [b"user", b"bob"]
            assert b".." not in kept


def test_a_name_of_the_upstreams_host_is_in_lower_case() -> None:
    # Ada's path led to the host of ada: in DNS they are the same.
    routes = table(upstream="http://lab-{user}.svc:1", pattern="[A-Za-z]+")

    assert passes(routes, b"/user/ada/", sub="ada")
    assert not passes(routes, b"/user/Ada/", sub="Ada")
    assert passes(OWNED, b"/user/Ada/", sub="Ada")


def test_all_claims_are_needed_and_one_value_of_each() -> None:
    routes = table(sub=("{user}",), roles=("admin", "staff"))

    assert passes(routes, b"/user/ada/", sub="ada", roles=["guest", "staff"])
    assert passes(routes, b"/user/ada/", sub="ada", roles="admin")
    assert not passes(routes, b"/user/ada/", sub="ada", roles=["guest"])
    assert not passes(routes, b"/user/ada/", sub="ada", roles=[])
    assert not passes(routes, b"/user/ada/", sub="bob", roles=["admin"])
    assert not passes(routes, b"/user/ada/", roles=["admin"])


def test_a_name_may_be_part_of_a_value() -> None:
    routes = table("/apps/{a}/{b}/", groups=("all-apps", "app:{a}/{b}"))

    assert passes(routes, b"/apps/x/y/z", groups=["app:x/y"])
    assert passes(routes, b"/apps/x/y/z", groups=["all-apps"])
    assert not passes(routes, b"/apps/x/y/z", groups=["app:y/x", "app:x"])
    assert not passes(routes, b"/apps/%7Bb%7D/y/", groups=["app:y/y"])


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("8888", 8888), ("-1", -1), ("true", True), ("false", False), ("true", [False, True]),
        ("x", ["y", "x"]),
    ],
)  # fmt: skip
def test_whole_numbers_and_booleans_are_compared_as_json_writes_them(value: str, found: object) -> None:
    assert first_unmet([Demand("c", (value,))], {"c": found}) is None


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("1", 1.0), ("1.0", 1.0), ("1", True), ("True", True), ("null", None), ("None", None), ("x", [["x"]]),
        ("x", {"x": "x"}), ("nan", float("nan")), ("x", "xy"), ("x", " x"), ("", []),
    ],
)  # fmt: skip
def test_nothing_else_is_equal_to_a_text(value: str, found: object) -> None:
    assert first_unmet([Demand("c", (value,))], {"c": found}) == "c"


def test_the_first_claim_that_is_missing_is_named() -> None:
    demands = [Demand("a", ("1",)), Demand("b", ("1",)), Demand("c", ("1",))]

    assert first_unmet(demands, {"a": "1", "c": "2"}) == "b"
    assert first_unmet([], {}) is None


@pytest.mark.parametrize(
    ("value", "allowed"),
    [
        ("{user}", "names that the path captures; {user} is none"),
        ("{a", 'braces only as a "{name}" that the path captures'),
        ("{A}", 'braces only as a "{name}" that the path captures'),
        ("{a}{b}", 'a "/" between two names, or the value could be read in two ways'),
        ("{a}-{b}", 'a "/" between two names, or the value could be read in two ways'),
    ],
)
def test_a_value_that_could_not_be_filled_in_in_one_way_is_refused(value: str, allowed: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(allowed)}$"):
        ClaimTemplate.parse("sub", ("fine", value), ("a", "b"))
