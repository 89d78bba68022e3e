"""Which route a request takes, and what goes upstream."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule.configuration.route import RouteConfig
from bascule.configuration.templates import UpstreamAddress
from bascule.policy.routes import BadTarget, Match, RouteTable


def route(name: str, path: str, upstream: str = "http://127.0.0.1:8888", **more: Any) -> RouteConfig:
    return RouteConfig(name=name, path=path, upstream=upstream, **more)


APPS = route(
    "apps",
    "/apps/{project}/{app}/",
    "http://{app}.{project}.svc:8501",
    strip_prefix=True,
    where={"project": "[a-z0-9_]+", "app": "[a-z0-9-]+"},
)
LAB = route("lab", "/jupyter/lab/")
USER = route("user", "/user/{name}/", where={"name": "[a-z0-9@.]*[a-z0-9]"})
TEST = route("test", "/user/test/", "http://test:1")
PORT = route("port", "/jupyter/{port}/", "http://jupyter:{port}", where={"port": "[0-9]+"})
ROOT = route("root", "/", "http://root:1")

TABLE = RouteTable([ROOT, APPS, LAB, USER, TEST, PORT])


def taken(raw: bytes, table: RouteTable = TABLE) -> str | None:
    match = table.match(raw)
    return None if match is None else match.route.name


def hit(raw: bytes, table: RouteTable = TABLE) -> Match:
    match = table.match(raw)
    assert match is not None
    return match


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        (b"/", "root"),
        (b"/elsewhere", "root"),
        (b"/jupyter/lab", "lab"),
        (b"/jupyter/lab/", "lab"),
        (b"/jupyter/lab?x=/user/test/", "lab"),
        (b"/jupyter/lab/api/contents/a%2Fb", "lab"),
        (b"/jupyter/labs", "root"),
        (b"/jupyter", "root"),
        (b"/user/test/x", "test"),
        (b"/user/tes/x", "user"),
        (b"/apps/p_1/a-1", "apps"),
        (b"/apps/p_1/", "root"),
        (b"/apps/p.1/a/", "root"),
        (b"http://any.host/jupyter/lab/", "lab"),
        (b"/%6aupyter/la%62/", "lab"),
        (b"/user/a%40b.c/", "user"),
    ],
)
def test_the_longest_path_of_whole_segments_wins(raw: bytes, name: str) -> None:
    assert taken(raw) == name


def test_without_a_route_there_is_no_match() -> None:
    assert RouteTable([LAB]).match(b"/jupyter") is None
    assert RouteTable([]).match(b"/") is None
    assert RouteTable([PORT]).match(b"/jupyter/") is None
    assert RouteTable([LAB]).match(b"/a%2Fb;c") is None, "in neither reading"


@pytest.mark.parametrize(
    "raw", [b"/.bascule/x", b"/%2ebascule/", b"/.bascule/a%2Fb?q", b"http://h/.bascule/x"]
)
def test_what_the_proxy_itself_answers_is_on_no_route(raw: bytes) -> None:
    assert TABLE.match(raw) is None


def test_what_was_matched_is_forwarded_byte_for_byte() -> None:
    raw = b"/%6aupyter/lab/api/contents/a%2fb;v=1/%7Ec?q=%2F..//"

    match = hit(raw)

    assert (match.target, match.prefix, match.authority) == (raw, b"", None)
    assert match.upstream == UpstreamAddress("http", "127.0.0.1", 8888, b"127.0.0.1:8888")
    assert match.route is LAB


def test_an_absolute_form_goes_upstream_as_its_path_and_names_its_host() -> None:
    match = hit(b"http://front:8443/jupyter/lab?x")

    assert (match.target, match.authority) == (b"/jupyter/lab?x", b"front:8443")


@pytest.mark.parametrize(
    ("raw", "target", "prefix"),
    [
        (b"/apps/p/a/", b"/", b"/apps/p/a"),
        (b"/apps/p/a", b"/", b"/apps/p/a"),
        (b"/apps/p/a?x=1", b"/?x=1", b"/apps/p/a"),
        (b"/apps/p/a/b%2Fc/d?x", b"/b%2Fc/d?x", b"/apps/p/a"),
        (b"/apps/%70/a/b", b"/b", b"/apps/%70/a"),
    ],
)
def test_a_stripped_prefix_leaves_a_path(raw: bytes, target: bytes, prefix: bytes) -> None:
    match = hit(raw)

    assert (match.target, match.prefix) == (target, prefix)
    assert match.upstream.host == "a.p.svc"


@pytest.mark.parametrize("raw", [b"/apps/p/a//host/x", b"/apps/p/a/%2Fhost", b"/apps/p/a/;x", b"/apps/p/a//"])
def test_42_what_a_stripped_prefix_leaves_does_not_begin_with_an_empty_segment(raw: bytes) -> None:
    with pytest.raises(BadTarget, match="begins with an empty segment"):
        TABLE.match(raw)


def test_stripping_the_root_strips_nothing() -> None:
    match = hit(b"/x?y", RouteTable([route("root", "/", strip_prefix=True)]))

    assert (match.target, match.prefix) == (b"/x?y", b"")


def test_a_literal_segment_beats_a_pattern_at_the_same_depth() -> None:
    where = {"x": "[a-z]+", "y": "[a-z]+"}
    table = RouteTable(
        [
            route("both", "/a/{x}/{y}", where=where),
            route("second", "/a/{x}/c", where={"x": "[a-z]+"}),
            route("first", "/a/b/{y}", where={"y": "[a-z]+"}),
            route("deep", "/a/{x}/{y}/d", where=where),
            route("narrow", "/a/{x}/{y}/e/f", where={"x": "[a-c]+", "y": "[a-z]+"}),
        ]
    )

    assert taken(b"/a/x/y", table) == "both"
    assert taken(b"/a/x/c", table) == "second"
    assert taken(b"/a/b/c", table) == "first"
    assert taken(b"/a/b/c/d", table) == "deep"
    assert taken(b"/a/b/c/e/f", table) == "narrow"
    assert taken(b"/a/x/c/e/f", table) == "second"


def test_without_names_the_longest_path_wins_too() -> None:
    deep = route("deep", "/jupyter/lab/a/b/")
    table = RouteTable([ROOT, LAB, deep])

    assert taken(b"/jupyter/x", table) == "root"
    assert taken(b"/jupyter/lab/a/x", table) == "lab"
    assert taken(b"/jupyter/lab/a/b/c", table) == "deep"
    assert taken(b"/jupyter/lab/a", RouteTable([deep])) is None


@pytest.mark.parametrize(
    ("raw", "first", "other"),
    [
        (b"/a/b/c", "/a/{z}/{y}", "/{x}/b/c"),
        (b"/a/c", "/{x}/c", "/{y}/{z}"),
        (b"/a/c/d", "/{x}/c/{z}", "/{y}/{z}/d"),
    ],
)
@pytest.mark.parametrize("turned", [False, True], ids=["", "turned"])
def test_the_first_segment_that_is_literal_in_one_of_two_decides(
    raw: bytes, first: str, other: str, turned: bool
) -> None:
    where = {"x": "[a-z]+", "y": "[a-c]+", "z": "[a-f]+"}
    routes = [
        route(name, path, where={one: where[one] for one in re.findall("{(.)}", path)})
        for name, path in (("first", first), ("other", other))
    ]
    wanted = routes[0]
    if turned:
        routes.reverse()

    assert hit(raw, RouteTable(routes)).route is wanted


def test_only_what_is_below_the_proxys_own_segment_is_its_own() -> None:
    assert taken(b"/.bascule") == "root"
    assert TABLE.match(b"/.bascule/") is None


@pytest.mark.parametrize(
    "raw",
    [
        b"/jupyter/lab/../x",
        b"/jupyter/lab/%2e%2e/x",
        b"/jupyter/lab/..%2fx",
        b"/jupyter/lab/%252e%252e/x",
        b"/jupyter/lab/..;/x",
        b"/jupyter//lab",
        b"/jupyter\\lab",
        b"/jupyter%5clab",
        b"/jupyter/lab%00",
    ],
)
def test_42_what_could_be_read_in_two_ways_never_reaches_a_route(raw: bytes) -> None:
    with pytest.raises(BadTarget):
        TABLE.match(raw)


@pytest.mark.parametrize(
    "raw",
    [
        b"/jupyter%2Flab/x",
        b"/jupyter/lab;x/api",
        b"/jupyter;x/lab/api",
        b"/user/test%2fx",
        b"/user%2ftest",
        b"/user/bob;y",
        b"/jupyter//lab/api",
        b"/jupyter/;x/lab/api",
        b"/jupyter/%2Flab/api",
        b"/user//test",
        b"/user/test%3Fx",
        b"/jupyter/lab%253F/x",
    ],
)
def test_42_a_path_that_a_lax_server_reads_as_another_route_is_refused(raw: bytes) -> None:
    with pytest.raises(BadTarget, match="read in two ways"):
        TABLE.match(raw)


@pytest.mark.parametrize(
    "raw",
    [
        b"/files%2Fa/b",
        b"/files;v=1/a",
        b"/jupyter/lab/tree/a%2Fb",
        b"/jupyter/lab/x;y/z",
        b"/jupyter/lab//x",
        b"/jupyter/lab/url/https://host/x//",
        b"/jupyter/lab/git/https%3A%2F%2Fhost%2Fx/main",
        b"/jupyter/lab/tree/Q%3F%20and%20A%20%231.ipynb",
    ],
)
def test_42_behind_the_prefix_escaped_slashes_parameters_and_empty_segments_pass(raw: bytes) -> None:
    assert hit(raw).target == raw


@pytest.mark.parametrize(
    "raw", [b"/user/a%2fb", b"/user/a%2Fb/lab", b"/user/a%2f..%2fb", b"/user/a%3Fb/lab", b"/user/a%23b/lab"]
)
def test_43_an_escaped_slash_or_end_of_the_path_in_a_user_name_is_refused(raw: bytes) -> None:
    with pytest.raises(BadTarget):
        TABLE.match(raw)


def test_43_an_escaped_slash_never_reaches_a_pattern_however_wide() -> None:
    wide = "[a-z-]+|[a-z]%2F[a-z]{2,}|[a-z]%3B[a-z]|[a-z]%25[a-z]{2,}"
    table = RouteTable([route("wide", "/u/{x}/y", where={"x": wide}), ROOT])

    assert taken(b"/u/a-b/y", table) == "wide"
    assert taken(b"/u/a%2Fbc/y", table) == "root"
    assert taken(b"/u/a%25bc/y", table) == "root"
    with pytest.raises(BadTarget):  # without its parameters it would be the wide route
        table.match(b"/u/a%3Bb/y")


def test_a_segment_of_any_length_is_not_put_to_a_pattern() -> None:
    table = RouteTable([route("wide", "/u/{x}/", where={"x": "[a-z]+"})])

    assert taken(b"/u/" + b"a" * 255, table) == "wide"
    assert taken(b"/u/" + b"a" * 256, table) is None


def test_43_case_matters() -> None:
    assert taken(b"/Jupyter/lab/") == "root"
    assert taken(b"/user/Test/") == "root"


def test_44_a_prefix_ends_at_a_segment() -> None:
    assert taken(b"/user/testtest/x") == "user"
    assert taken(b"/user/testtest", RouteTable([TEST])) is None


@pytest.mark.parametrize(
    "app", [b"127.0.0.1", b"0", b"2130706433", b"0x7f000001", b"localhost", b"[::1]", b"a@b", b"a:81"]
)
def test_45_a_target_from_a_url_is_only_what_the_pattern_allows(app: bytes) -> None:
    table = RouteTable([route("a", "/a/{app}/", "http://{app}:8080", where={"app": "[a-z0-9-]+"})])

    assert table.match(b"/a/" + app + b"/") is None


def test_45_a_name_never_adds_labels_to_the_host() -> None:
    assert taken(b"/apps/evil.example/a") == "root"
    assert hit(b"/apps/evil/169-254/").upstream.host == "169-254.evil.svc"


def test_46_the_host_comes_from_the_route_so_one_lookup_decides() -> None:
    assert hit(b"http://127.0.0.1:8081/jupyter/lab/").upstream == hit(b"/jupyter/lab/").upstream


@pytest.mark.parametrize("port", [b"0", b"65536", b"08888", b"99999999999999999999"])
def test_47_a_port_that_is_none_matches_nothing(port: bytes) -> None:
    assert taken(b"/jupyter/" + port + b"/") == "root"
    assert hit(b"/jupyter/38113/").upstream.port == 38113


def test_49_the_host_is_not_used_for_routing() -> None:
    assert taken(b"http://jupyter/lab") == "root"


NAMES = ["a", "b", "ab", "%7E", "c1"]
segment = st.sampled_from([*NAMES, "{x}", "{y}"])
shape = st.lists(segment, max_size=4).map(tuple)
request_path = st.lists(st.sampled_from([*NAMES, "~", "z", "", "%62"]), max_size=5)


def configured(shapes: list[tuple[str, ...]]) -> list[RouteConfig]:
    """Make routes of distinct shapes, each ``{…}`` a name of its own."""
    routes: dict[tuple[str, ...], RouteConfig] = {}
    for parts in shapes:
        key = tuple("{}" if part[0] == "{" else part for part in parts)
        names = [f"{{n{place}}}" if part == "{}" else part for place, part in enumerate(key)]
        where = {f"n{place}": "[a-b]+" for place, part in enumerate(key) if part == "{}"}
        routes[key] = route(f"r{len(routes)}", "/" + "/".join(names), where=where)
    return list(routes.values())


def naive(routes: list[RouteConfig], raw: str) -> str | None:
    """Scan all routes: every prefix that matches, the longest first, then the most literal from the left."""
    wanted = [unquote_to_bytes(part).decode() for part in raw.strip("/").split("/")]
    matching: list[tuple[int, list[bool], str]] = []
    for each in routes:
        parts = [unquote_to_bytes(part).decode() for part in each.path.strip("/").split("/") if part]
        if len(parts) <= len(wanted) and all(
            re.fullmatch("[a-b]+", seen) if part[0] == "{" else part == seen
            for part, seen in zip(parts, wanted, strict=False)
        ):
            matching.append((len(parts), [part[0] != "{" for part in parts], each.name))
    return max(matching)[2] if matching else None


@given(st.lists(shape, max_size=8), request_path)
def test_matching_agrees_with_a_naive_longest_prefix_scan(
    shapes: list[tuple[str, ...]], parts: list[str]
) -> None:
    raw = "/" + "/".join(part for part in parts if part)
    routes = configured(shapes)

    assert taken(raw.encode(), RouteTable(routes)) == naive(routes, raw)


@given(st.lists(shape, max_size=8), st.randoms(use_true_random=False), request_path)
def test_the_order_of_routes_means_nothing(
    shapes: list[tuple[str, ...]], random: Any, parts: list[str]
) -> None:
    raw = ("/" + "/".join(part for part in parts if part)).encode()
    routes = configured(shapes)
    shuffled = list(routes)
    random.shuffle(shuffled)

    assert taken(raw, RouteTable(routes)) == taken(raw, RouteTable(shuffled))
