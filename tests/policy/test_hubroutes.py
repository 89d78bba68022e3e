"""Which of JupyterHub's routes a request takes, and what is no route."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule.configuration.route import AuthMode, RouteConfig
from bascule.configuration.templates import UpstreamAddress
from bascule.policy.hubroutes import HubRoutes, read_routespec
from bascule.policy.routes import BadTarget
from tests.policy.hub_tables import ALICE, BOB, FRONT, hit, table, taken

if TYPE_CHECKING:
    from bascule.policy.hubroutes import _Node


@pytest.mark.parametrize(
    ("raw", "routespec"),
    [
        (b"/", "/"),
        (b"/elsewhere", "/"),
        (b"/user", "/"),
        (b"/user/alice", "/user/alice"),
        (b"/user/alice/", "/user/alice"),
        (b"/user/alice?next=/user/alice/lab", "/user/alice"),
        (b"/user/%61lice/api", "/user/alice"),
        (b"/user/alicext", "/"),
        (b"/user/Alice", "/"),
        (b"/user/alice/lab", "/user/alice/lab"),
        (b"/user/alice/lab/tree", "/user/alice/lab"),
        (b"/user/alice/labs", "/user/alice"),
        (b"/user/b%C3%BCrger/x", "/user/bürger"),
        (b"/user/b%c3%bcrger", "/user/bürger"),
        (b"/user/c%40d", "/user/c@d"),
        (b"/user/c@d", "/user/c@d"),
        (b"/user/e%20f/", "/user/e f"),
        (b"http://any.host/user/alice/x", "/user/alice"),
    ],
)
def test_the_deepest_route_of_whole_segments_wins(raw: bytes, routespec: str) -> None:
    routes = table("/", "/user/alice", "/user/alice/lab", "/user/bürger", "/user/c@d", "/user/e f")

    assert taken(routes, raw) == routespec


def test_without_a_route_there_is_no_match() -> None:
    assert taken(table(), b"/") is None
    assert taken(table("/user/alice"), b"/user") is None
    assert taken(table("/user/alice"), b"/user/bob/x") is None


def test_a_route_between_two_others_need_not_be_there() -> None:
    assert taken(table("/a/b/c"), b"/a/b") is None
    assert taken(table("/a", "/a/b/c"), b"/a/b/d") == "/a"


def test_a_match_says_where_it_leads_and_which_route_it_was() -> None:
    routes = table(allowed_origins=("https://a.example",))
    route = routes.put("/user/alice", {"target": ALICE, "user": "alice"}, 5.0)

    match = hit(routes, b"/user/alice/api?x=%2F")

    assert match.hub_route is route
    assert (match.target, match.prefix, match.authority) == (b"/user/alice/api?x=%2F", b"", None)
    assert match.upstream == UpstreamAddress("http", "10.0.0.1", 8888, b"10.0.0.1:8888")
    assert (match.route.name, match.route.path, match.route.upstream) == ("/user/alice", "/user/alice", ALICE)
    assert (match.route.auth, match.route.allowed_origins) == (AuthMode.NONE, ("https://a.example",))


def test_a_route_replaces_the_one_with_the_same_routespec() -> None:
    routes = table("/user/alice")

    new = routes.put("user/alice/", {"target": BOB, "user": "bob"}, 7.0)

    assert (len(routes), list(routes), routes.get("/user/alice")) == (1, [new], new)
    assert hit(routes, b"/user/alice").upstream.host == "10.0.0.2"


@pytest.mark.parametrize("target", [None, "ftp://x"])
def test_what_is_refused_leaves_the_route_that_is_there(target: str | None) -> None:
    routes = table("/user/alice")
    before = routes.get("/user/alice")

    with pytest.raises(ValueError, match="target"):
        routes.put("/user/alice", {"target": target}, 9.0)

    assert routes.get("/user/alice") is hit(routes, b"/user/alice").hub_route is before


def test_a_removed_route_matches_no_more_and_those_around_it_do() -> None:
    routes = table("/a", "/a/b", "/a/b/c")
    removed = routes.get("/a/b")

    assert routes.remove("/a/b") is removed
    assert routes.remove("/a/b") is None
    assert routes.get("/a/b") is None
    assert [taken(routes, raw) for raw in (b"/a/b", b"/a/b/c", b"/a")] == ["/a", "/a/b/c", "/a"]


@pytest.mark.parametrize("routespec", ["/", "/a", "/a/b/c", "a/b", "/a//b", "/a;b", "/.bascule"])
def test_what_is_not_there_cannot_be_removed(routespec: str) -> None:
    routes = table("/a/b")

    assert routes.remove(routespec) is None
    assert taken(routes, b"/a/b") == "/a/b"


def test_there_are_no_more_routes_than_the_settings_allow() -> None:
    routes = table("/a", "/b", max_routes=2)

    with pytest.raises(ValueError, match=r"^There are already hub\.maxRoutes \(2\) routes\.$"):
        routes.put("/c", {"target": BOB}, 0.0)
    assert (len(routes), taken(routes, b"/c")) == (2, None)
    routes.put("/a", {"target": BOB}, 0.0)
    routes.remove("/b")
    routes.put("/c", {"target": BOB}, 0.0)

    assert [route.routespec for route in routes] == ["/a", "/c"]


NAMES = ["a", "b", "ab", "a b", "é", "@"]


spec = st.lists(st.sampled_from(NAMES), max_size=4).map(lambda pieces: "/" + "/".join(pieces))


changes = st.lists(st.tuples(st.booleans(), spec), max_size=20)


def after(steps: list[tuple[bool, str]]) -> tuple[HubRoutes, set[str]]:
    """Put and remove routes; return them, and the routespecs that must be left."""
    routes, live = table(), set()
    for is_put, routespec in steps:
        if is_put:
            routes.put(routespec, {"target": ALICE}, 0.0)
            live.add(routespec)
        else:
            assert (routes.remove(routespec) is not None) == (routespec in live)
            live.discard(routespec)
    return routes, live


@given(changes, spec)
def test_whatever_came_and_went_matching_agrees_with_a_naive_longest_prefix_scan(
    steps: list[tuple[bool, str]], path: str
) -> None:
    routes, live = after(steps)
    above = [known for known in live if f"{path}/".startswith(f"{known.rstrip('/')}/")]

    assert {route.routespec for route in routes} == live
    assert taken(routes, quote(path).encode()) == max(above, key=len, default=None)


@given(changes)
def test_the_tree_has_no_branch_without_a_route(steps: list[tuple[bool, str]]) -> None:
    def nodes(node: _Node) -> int:
        return sum(1 + nodes(child) for child in node.children.values())

    routes, live = after(steps)
    branches = {segments[:end] for segments in map(_segments, live) for end in range(1, len(segments) + 1)}

    assert nodes(routes._root) == len(branches)


def _segments(routespec: str) -> tuple[bytes, ...]:
    return read_routespec(routespec)[1]


@pytest.mark.parametrize(
    ("host", "raw", "routespec"),
    [
        (b"alice.example.org", b"/user/alice/lab", "/alice.example.org/user/alice"),
        (b"alice.example.org:8443", b"/user/alice/lab", "/alice.example.org/user/alice"),
        (b"ALICE.Example.ORG", b"/user/alice/lab", "/alice.example.org/user/alice"),
        (b"alice.example.org", b"/hub", "/alice.example.org"),
        (b"bob.example.org", b"/user/alice", "/"),
        (b"", b"/user/alice", "/"),
        (b"[::1]:8000", b"/x", "/[::1]"),
        (b"bob.example.org", b"http://alice.example.org:1/user/alice", "/alice.example.org/user/alice"),
        (b"bob.example.org", b"/alice.example.org/user/alice", "/"),
    ],
)
def test_with_host_routing_the_first_segment_is_the_host(host: bytes, raw: bytes, routespec: str) -> None:
    routes = table(*("/", "/alice.example.org", "/alice.example.org/user/alice", "/[::1]"), host_routing=True)

    assert taken(routes, raw, host) == routespec


def test_without_host_routing_the_host_means_nothing() -> None:
    assert taken(table("/user/alice", "/alice/user"), b"/user/alice", b"alice") == "/user/alice"


def test_the_case_of_a_routes_host_means_nothing() -> None:
    routes = table("/Alice.Example.org/User", host_routing=True)

    new = routes.put("/alice.EXAMPLE.org/User", {"target": BOB}, 0.0)

    assert list(routes) == [new]
    assert routes.get("/ALICE.example.org/User") is new
    assert taken(routes, b"/User", b"alice.example.org") == "/alice.EXAMPLE.org/User"
    assert taken(routes, b"/user", b"alice.example.org") is None
    assert routes.remove("/ALICE.example.org/User") is new
    assert (len(routes), taken(routes, b"/User", b"alice.example.org")) == (0, None)


def test_with_host_routing_the_host_is_no_part_of_what_is_taken_off() -> None:
    routes = table("/alice.org/user/alice", "/bob.org", "/", host_routing=True, include_prefix=False)

    matches = [
        hit(routes, b"/user/alice/x?y", b"alice.org"), hit(routes, b"/a/b", b"bob.org"), hit(routes, b"/a/b")
    ]  # fmt: skip

    assert [match.target for match in matches] == [b"/x?y", b"/a/b", b"/a/b"]
    assert [match.prefix for match in matches] == [b"/user/alice", b"", b""]


@pytest.mark.parametrize(
    ("include_prefix", "prepend_path", "target", "prefix"),
    [
        (True, True, b"/base/user/%61lice/x%2Fy?q", b""),
        (True, False, b"/user/%61lice/x%2Fy?q", b""),
        (False, True, b"/base/x%2Fy?q", b"/user/%61lice"),
        (False, False, b"/x%2Fy?q", b"/user/%61lice"),
    ],
)
def test_what_is_in_front_of_the_path_is_as_the_settings_say(
    include_prefix: bool, prepend_path: bool, target: bytes, prefix: bytes
) -> None:
    routes = table(include_prefix=include_prefix, prepend_path=prepend_path)
    routes.put("/user/alice", {"target": f"{ALICE}/base/"}, 0.0)

    match = hit(routes, b"/user/%61lice/x%2Fy?q")

    assert (match.target, match.prefix) == (target, prefix)


@pytest.mark.parametrize("raw", [b"/user/alice", b"/user/alice/"])
def test_a_path_that_was_taken_off_leaves_a_path(raw: bytes) -> None:
    assert hit(table("/user/alice", include_prefix=False), raw).target == b"/"


def test_an_absolute_form_goes_upstream_as_its_path_and_names_its_host() -> None:
    match = hit(table("/user"), b"http://front:8443/user?x")

    assert (match.target, match.authority) == (b"/user?x", b"front:8443")


def test_where_no_route_is_the_default_target_is_asked_and_it_is_no_route() -> None:
    routes = table("/user/alice", default_target="https://hub:8081/base")

    match = hit(routes, b"/hub/login")

    assert (match.upstream.host, match.target) == ("hub", b"/base/hub/login")
    assert taken(routes, b"/user/alice/x") == "/user/alice"
    assert ([route.routespec for route in routes], routes.get("/")) == (["/user/alice"], None)


def test_the_route_of_the_root_wins_over_the_default_target() -> None:
    routes = table("/", default_target="http://hub:8081")

    assert hit(routes, b"/x").upstream.host == "10.0.0.1"
    routes.remove("/")
    assert hit(routes, b"/x").upstream.host == "hub"


def test_a_route_of_the_configuration_wins_however_deep_the_others_are() -> None:
    configured = RouteConfig(name="lab", path="/user/", upstream="http://lab:1")
    routes = table("/", "/user/alice/lab", configured=(configured,))

    match = hit(routes, b"/user/alice/lab")

    assert (match.route, match.hub_route) == (configured, None)
    assert taken(routes, b"/users") == "/"


def test_what_the_proxy_itself_answers_is_on_no_route() -> None:
    assert taken(table("/", default_target="http://hub"), b"/.bascule/x") is None


@pytest.mark.parametrize(
    "raw",
    [
        b"/user/alice%2Fx",
        b"/user/alice%2fx/y",
        b"/user/alice%2Fy",
        b"/user%2Falice",
        b"/user%2Falice/x",
        b"/user/alice;v=1",
        b"/user/alice;v=1/x",
        b"/user;v/alice",
        b"/user/alice/x;v",
        b"/user/alice/x%3Bv",
        b"/user/alice/x%2Fy",
        b"/user/b%2520c",
        b"/user//alice",
        b"/user/alice//x",
        b"/user/alice%2F%2Fx",
    ],
)
def test_a_path_that_a_lax_server_reads_as_another_route_is_refused(raw: bytes) -> None:
    routes = table("/user/alice", "/user/alice/x", "/user/b c", default_target="http://hub")

    with pytest.raises(BadTarget, match="read in two ways"):
        routes.match(raw, FRONT)


@pytest.mark.parametrize(
    ("raw", "routespec"),
    [
        (b"/user/alice/y%2Fx", "/user/alice"),
        (b"/user/alice/y;v/x", "/user/alice"),
        (b"/user/alice/x/a%2Fb;c", "/user/alice/x"),
        (b"/a%2Fb", "/"),
        (b"/v2/git/https%3A%2F%2Fhost%2Frepo/main", "/"),
        (b"/user/alice//y", "/user/alice"),
        (b"/user/alice%23EXT%23/lab", "/user/alice#EXT#"),
    ],
)
def test_a_path_whose_readings_lead_to_one_route_passes_byte_for_byte(raw: bytes, routespec: str) -> None:
    match = hit(table("/", "/user/alice", "/user/alice/x", "/user/alice#EXT#"), raw)

    assert (match.route.name, match.target) == (routespec, raw)


def test_two_readings_are_compared_below_the_host() -> None:
    routes = table("/a.org", "/a.org/x", "/b.org", host_routing=True)

    with pytest.raises(BadTarget, match="read in two ways"):
        routes.match(b"/x;v", b"a.org")
    assert taken(routes, b"/x;v", b"b.org") == "/b.org"


@pytest.mark.parametrize("raw", [b"/a/../b", b"/a/%2e%2e/b", b"//a", b"/a\\b", b"/a%00", b"a"])
def test_what_no_route_could_have_is_refused_whatever_the_routes(raw: bytes) -> None:
    with pytest.raises(BadTarget):
        table().match(raw, FRONT)
