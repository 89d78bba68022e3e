"""How JupyterHub may spell a route and its target, and what it may not spell."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule.policy.hubroutes import read_routespec
from tests.policy.hub_tables import ALICE, table, taken

NO_ESCAPE = 'A route may not contain ";", "\\" or an escape.'


@pytest.mark.parametrize(
    ("text", "routespec", "segments"),
    [
        ("", "/", ()),
        ("/", "/", ()),
        ("///", "/", ()),
        ("user/alice", "/user/alice", (b"user", b"alice")),
        ("//user/alice//", "/user/alice", (b"user", b"alice")),
        ("/user/alice@example.org", "/user/alice@example.org", (b"user", b"alice@example.org")),
        ("/user/~a!$&'()*+,=:b", "/user/~a!$&'()*+,=:b", (b"user", b"~a!$&'()*+,=:b")),
        ("/user/a b", "/user/a b", (b"user", b"a%20b")),
        ("/user/bücher", "/user/bücher", (b"user", b"b%C3%BCcher")),
        ("/what?#", "/what?#", (b"what%3F%23",)),
        ("/100%", "/100%", (b"100%25",)),
        ("/.hidden/...", "/.hidden/...", (b".hidden", b"...")),
        ("/.basculer", "/.basculer", (b".basculer",)),
        ("/" + "a" * 2047, "/" + "a" * 2047, (b"a" * 2047,)),
    ],
)
def test_a_routespec_has_one_form_and_the_segments_of_a_request(
    text: str, routespec: str, segments: tuple[bytes, ...]
) -> None:
    assert read_routespec(text) == (routespec, segments)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("/a//b", "A route may not contain an empty segment."),
        ("/a/../b", "No request has this path: The path contains a dot segment."),
        (".", "No request has this path: The path contains a dot segment."),
        ("/a\x00", "No request has this path: The path contains an escaped control character."),
        ("/a\n", "No request has this path: The path contains an escaped control character."),
        ("/a\\b", NO_ESCAPE),
        ("/a%2Fb", NO_ESCAPE),
        ("/a;b", NO_ESCAPE),
        ("/%41", NO_ESCAPE),
        ("/" + "é" * 1024, "A route may be at most 2048 bytes long."),
        (".bascule", "The paths below /.bascule/ are the proxy's own."),
        ("/.bascule/x", "The paths below /.bascule/ are the proxy's own."),
    ],
)  # fmt: skip
def test_a_routespec_that_no_request_could_match_is_refused(text: str, problem: str) -> None:
    with pytest.raises(ValueError) as refused:  # noqa: PT011 - the whole text is compared
        read_routespec(text)

    assert str(refused.value) == problem


piece = st.text("ab é@.~?", min_size=1, max_size=4).filter(
    lambda text: text.partition("?")[0] not in (".", "..")
)


@given(st.lists(piece, max_size=4).map("/".join))
def test_a_routespec_that_was_read_reads_as_itself_and_is_found(text: str) -> None:
    routespec, segments = read_routespec(text)

    assert read_routespec(routespec) == (routespec, segments)
    assert taken(table(text), quote(routespec).encode()) == routespec


@pytest.mark.parametrize("data", [{}, {"target": None}, {"target": 1}, {"target": [ALICE]}])
def test_a_route_without_a_target_is_refused_in_the_words_of_the_proxy_that_the_hub_knows(
    data: dict[str, object],
) -> None:
    with pytest.raises(ValueError, match=r"^Must specify 'target' as string$"):
        table().put("/a", data, 0.0)
