"""One reading of a request-target: taken byte for byte, or refused."""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bascule.protocol.path import BadTarget, Target, parse_target
from tests.support.growth import assert_linear, least

pieces = st.sampled_from(
    [
        b"a",
        b"lab",
        b".",
        b"..",
        b"%2e",
        b"%2E",
        b"%2f",
        b"%5c",
        b"\\",
        b";",
        b"x",
        b"%25",
        b"2e",
        b"2f",
        b"%00",
        b"%41",
        b"%7e",
        b"~",
        b"%c3%a9",
        b"%c0%ae",
        b"%63",
        b"@",
        b":",
        b"%",
        b"%2",
        b"...",
        b"?",
        b"#",
        b" ",
        b"\xff",
    ]
)
paths = st.lists(st.lists(pieces, max_size=4).map(b"".join), max_size=5).map(lambda s: b"/" + b"/".join(s))


def refusal(raw: bytes) -> str:
    with pytest.raises(BadTarget) as caught:
        parse_target(raw)
    assert caught.value.status == 400
    return caught.value.detail


@pytest.mark.parametrize(
    "raw",
    [
        b"/",
        b"/lab",
        b"/lab/",
        b"/lab/api/contents/a b.ipynb".replace(b" ", b"%20"),
        b"/lab/api/contents/100%25.ipynb",
        b"/files/.hidden/..almost/...",
        b"/_stcore/stream",
        b"/a:b@c/d,e;v=1/!$&'()*+=",
        b"/lab/contents/dir%2Ffile",
        b"/url/https://host/x",
        b"/v2/git/https%3A%2F%2Fhost%2Fx/main",
        b"/%C3%A9t%c3%a9",
        b"/api/contents/a%5Cb",
        b"/api/contents/100%2525%20a%252Fb",
        b'/odd"<>^`{|}[]',
    ],
)
def test_an_acceptable_path_is_taken_byte_for_byte(raw: bytes) -> None:
    target = parse_target(raw)

    assert (target.path, target.query, target.authority) == (raw, b"", None)


@pytest.mark.parametrize("query", [b"?", b"?a=b", b"?next=/../%2e%2e//x;y\\%00", b"?a?b", b"?%zz"])
def test_a_query_is_opaque_and_kept_with_its_mark(query: bytes) -> None:
    target = parse_target(b"/lab" + query)

    assert (target.path, target.query) == (b"/lab", query)


@pytest.mark.parametrize(
    ("raw", "path", "query", "authority"),
    [
        (b"http://host/lab?x", b"/lab", b"?x", b"host"),
        (b"HTTPS://host:8443/", b"/", b"", b"host:8443"),
        (b"http://host", b"/", b"", b"host"),
        (b"http://host?x=1", b"/", b"?x=1", b"host"),
        (b"http://[::1]:80/lab", b"/lab", b"", b"[::1]:80"),
    ],
)
def test_an_absolute_form_is_its_path_and_its_host(
    raw: bytes, path: bytes, query: bytes, authority: bytes
) -> None:
    target = parse_target(raw)

    assert (target.path, target.query, target.authority) == (path, query, authority)


@pytest.mark.parametrize(
    "raw", [b"", b"*", b"host:443", b"lab", b"ftp://host/", b"ws://host/", b"?x", b"http:/lab", b"//host/lab"]
)
def test_25_other_forms_are_refused(raw: bytes) -> None:
    refusal(raw)


@pytest.mark.parametrize(
    "raw",
    [
        b"http://user@host/",
        b"http:///lab",
        b"http://ho st/",
        b"http://h:x/",
        b"http://h%2f/",
        b"http://h\\x/",
    ],
)
def test_25_an_absolute_form_with_a_doubtful_host_is_refused(raw: bytes) -> None:
    assert refusal(raw) == "The host in the request target is not valid."


@pytest.mark.parametrize("bad", [b"#x", b" ", b"\t", b"\r\n", b"\x00", b"\x7f", b"\x80", "é".encode()])
@pytest.mark.parametrize("place", [b"/a%sb", b"/a?b%s"])
def test_26_fragments_spaces_controls_and_raw_non_ascii_are_refused(place: bytes, bad: bytes) -> None:
    assert "must be escaped" in refusal(place % bad)


@pytest.mark.parametrize(("piece", "count"), [(b"a/", 32768), (b"a%2Fb;c/", 8192)])
def test_26_a_target_of_64_kb_is_read_in_time_linear_to_its_length(piece: bytes, count: int) -> None:
    assert_linear(lambda pieces: _read_anew(b"/" + pieces), piece, count)


def test_26_escapes_in_many_segments_cost_about_as_much_as_in_one() -> None:
    in_many, in_one = least(_read_anew, b"/%41" * 8192), least(_read_anew, b"/" + b"%41" * 10922)
    assert in_many < 2 * in_one, f"{in_one * 1e6:.0f} µs became {in_many * 1e6:.0f}"


def test_a_target_that_is_asked_for_again_at_once_is_not_read_again() -> None:
    assert parse_target(b"/%41") is parse_target(b"/%41")


def _read_anew(target: bytes) -> Target:
    parse_target.cache_clear()
    return parse_target(target)


@pytest.mark.parametrize(
    "raw",
    [
        b"/lab/../admin",
        b"/lab/..",
        b"/./lab",
        b"/lab/%2e%2e/admin",
        b"/lab/%2E./admin",
        b"/lab/.%2e/admin",
        b"/lab/..%2fadmin",
        b"/lab/%2e%2e%2Fadmin",
        b"/lab/x%2f..%2f..%2fadmin",
        b"/lab/..;/admin",
        b"/lab/..;a=b/admin",
        b"/lab/%2e%2e;/admin",
        b"/lab/%2e%2e%3b/admin",
        b"/lab/.;x/admin",
        b"/lab/%25%32%65%25%32%65/admin",
        b"/lab/x%2f%2e%2e",
        b"/lab//../admin",
        b"/lab/%2f..%2fadmin",
        b"/lab/;x/../admin",
        b"/lab/%5c..%5cadmin",
        b"/lab/%252e%252e/admin",
        b"/lab/..%252fadmin",
        b"/lab/..%255cadmin",
        b"/lab/%25252e",
    ],
)
def test_42_a_dot_segment_is_refused_in_every_spelling(raw: bytes) -> None:
    assert refusal(raw) == "The path contains a dot segment."


@pytest.mark.parametrize(
    "raw",
    [
        b"//",
        b"//host/lab",
        b"/%2flab",
        b"/%2F%2Fhost",
        b"/%25%32%46host",
        b"/%252Fhost",
        b"/%5Chost",
        b"/;x",
        b"/;x/lab",
    ],
)
def test_42_an_empty_first_segment_is_refused_in_every_spelling(raw: bytes) -> None:
    assert refusal(raw) == "The path begins with an empty segment."


@pytest.mark.parametrize(
    "raw",
    [
        b"/%c0%ae%c0%ae/admin",
        b"/%C1%9cadmin",
        b"/%e0%80%ae",
        b"/%f0%80%80%ae",
        b"/%25c0%25ae",
        b"/%c0%25ae",
    ],
)
def test_42_overlong_utf8_is_refused_however_often_it_is_escaped(raw: bytes) -> None:
    assert refusal(raw) == "The path contains overlong UTF-8."


@pytest.mark.parametrize("raw", [b"/lab\\..\\admin", b"/lab\\x", b"/\\x"])
def test_42_a_raw_backslash_is_refused(raw: bytes) -> None:
    assert refusal(raw) == "The path contains a backslash."


@pytest.mark.parametrize(
    "raw", [b"/lab%00", b"/%0d%0aX: y".replace(b" ", b"%20"), b"/%7f", b"/%1B", b"/%25%30%30"]
)
def test_42_an_escaped_control_byte_is_refused(raw: bytes) -> None:
    assert refusal(raw) == "The path contains an escaped control character."


@pytest.mark.parametrize("raw", [b"/%", b"/%2", b"/%zz", b"/%u002e", b"/a%2/b", b"/%2x"])
def test_a_malformed_escape_is_refused(raw: bytes) -> None:
    assert refusal(raw) == "The path contains a malformed escape."


def escaped(times: int) -> bytes:
    """Return an A whose every byte was escaped, again and again."""
    text = b"A"
    for _ in range(times):
        text = b"".join(b"%%%02x" % byte for byte in text)
    return text


def test_a_path_escaped_more_often_than_we_look_is_refused() -> None:
    assert parse_target(b"/" + escaped(3)).credulous == [b"A"]
    assert refusal(b"/" + escaped(4)) == "The path is escaped too many times."


@pytest.mark.parametrize(
    ("raw", "segments", "credulous"),
    [
        (b"/%6cab/%7Euser", [b"lab", b"~user"], None),
        (b"/a%40b", [b"a@b"], None),
        (b"/%c3%a9", [b"%C3%A9"], None),
        (b"/a%2fb", [b"a%2Fb"], [b"a", b"b"]),
        (b"/lab;v=1/x", [b"lab%3Bv=1", b"x"], [b"lab", b"x"]),
        (b"/x%25y", [b"x%25y"], None),
        (b"/x%2541", [b"x%2541"], [b"xA"]),
        (b"/x%5cy", [b"x%5Cy"], [b"x", b"y"]),
        (b"/x%252Fy%255cz", [b"x%252Fy%255cz"], [b"x", b"y", b"z"]),
        (b"/100%2525", [b"100%2525"], [b"100%25"]),
        (b"/a//b", [b"a", b"", b"b"], [b"a", b"b"]),
        (b"/a//", [b"a", b"", b""], [b"a", b""]),
        (b"/a%2f%2Fb", [b"a%2F%2Fb"], [b"a", b"b"]),
        (b"/a%2f", [b"a%2F"], [b"a", b""]),
        (b"/a/%2Fb", [b"a", b"%2Fb"], [b"a", b"b"]),
        (b"/a/;x/b", [b"a", b"%3Bx", b"b"], [b"a", b"b"]),
        (b"/a/;x", [b"a", b"%3Bx"], [b"a", b""]),
        (b"/a/b//;x//c", [b"a", b"b", b"", b"%3Bx", b"", b"c"], [b"a", b"b", b"c"]),
    ],
)
def test_the_normal_and_the_credulous_reading(
    raw: bytes, segments: list[bytes], credulous: list[bytes] | None
) -> None:
    target = parse_target(raw)

    assert (target.segments, target.credulous, target.truncated) == (segments, credulous, None)


@pytest.mark.parametrize(
    ("raw", "credulous", "truncated"),
    [
        (b"/x%3Fy%23", None, [b"x"]),
        (b"/x%23/y", None, [b"x"]),
        (b"/a%2Fb%253Fc/d", [b"a", b"b%3Fc", b"d"], [b"a", b"b"]),
        (b"/%3Fx", None, [b""]),
        (b"/x/%3F", None, [b"x", b""]),
        (b"/x;%3F/y", [b"x", b"y"], [b"x"]),
    ],
)
def test_an_escaped_mark_of_a_query_or_a_fragment_ends_the_truncated_reading(
    raw: bytes, credulous: list[bytes] | None, truncated: list[bytes]
) -> None:
    target = parse_target(raw)

    assert (target.credulous, target.truncated) == (credulous, truncated)


def test_an_escape_that_is_not_needed_is_undone_and_others_are_in_upper_case() -> None:
    told = {byte: b"%%%02x" % byte for byte in range(256) if 32 <= byte != 127}
    segments = {byte: parse_target(b"/x" + escape).segments for byte, escape in told.items()}
    assert segments == {
        byte: [b"x" + (bytes([byte]) if 33 <= byte <= 126 and byte not in b"/\\%;#?" else escape.upper())]
        for byte, escape in told.items()
    }


def test_what_was_sent_is_never_repeated_in_the_answer() -> None:
    assert "secret" not in refusal(b"/secret/../x")


@given(paths)
@example(b"/a;/..")
def test_whatever_is_accepted_can_not_climb_however_it_is_decoded(raw: bytes) -> None:
    try:
        target = parse_target(raw)
    except BadTarget:
        return

    assert target.path + target.query == raw
    decoded = target.path
    for _ in range(6):
        names = [name.partition(b";")[0] for name in decoded.replace(b"\\", b"/").split(b"/")]
        assert not {b".", b".."} & set(names)
        assert names[1] != b"" or decoded == b"/"
        assert b"\0" not in decoded
        decoded = unquote_to_bytes(decoded)


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(raw: bytes) -> None:
    try:
        target = parse_target(raw)
    except BadTarget:
        return
    assert isinstance(target, Target)
    assert target.path.startswith(b"/")
