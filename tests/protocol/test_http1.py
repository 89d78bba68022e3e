"""Strict heads (RFC 9112): what is accepted, and every way of being malformed with its status.

Numbers in ids are those of the attack list, section A.
"""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule.protocol import http1
from bascule.protocol.http1 import (
    BadHead,
    has_bare_line_feed,
    has_huge_length,
    parse_request_head,
    parse_response_head,
    tokens,
    without_empty_lines,
)

MAX_FIELDS = 20


def request(*lines: bytes, start: bytes = b"GET / HTTP/1.1") -> bytes:
    return b"\r\n".join([start, *lines, b"", b""])


def response(*lines: bytes, start: bytes = b"HTTP/1.1 200 OK") -> bytes:
    return b"\r\n".join([start, *lines, b"", b""])


# -- request heads ----------------------------------------------------------------------------


def test_a_browsers_head_is_read_line_by_line() -> None:
    head = parse_request_head(
        request(b"Host: a", b"Cookie: x=1; y=2", b"cookie:z=3", start=b"GET /a%2Fb?q=%20 HTTP/1.1"),
        MAX_FIELDS,
    )
    assert (head.method, head.target, head.minor) == (b"GET", b"/a%2Fb?q=%20", 1)
    assert head.fields == [(b"Host", b"a"), (b"Cookie", b"x=1; y=2"), (b"cookie", b"z=3")]
    assert head.values(b"cookie") == [b"x=1; y=2", b"z=3"]
    assert head.values(b"origin") == []


@given(lines=st.integers(0, 50), rest=st.binary(max_size=20).filter(lambda rest: rest[:2] != b"\r\n"))
def test_empty_lines_in_front_go_and_nothing_else(lines: int, rest: bytes) -> None:
    assert without_empty_lines(b"\r\n" * lines + rest) == rest


@pytest.mark.parametrize(
    ("data", "is_bare"),
    [
        (b"GET / HTTP/1.1\n", True),
        (b"GET / HTTP/1.1\r\nHost: a\n", True),
        (b"GET / HTTP/1.1\r\nHost: a\n\r", True),
        (b"GET / HTTP/1.1\r", False),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r", False),
        (b"", False),
    ],
)
def test_a_line_feed_is_bare_without_a_carriage_return(data: bytes, is_bare: bool) -> None:
    assert has_bare_line_feed(data) is is_bare


@pytest.mark.parametrize(
    ("line", "is_huge"),
    [
        (b"Content-Length: 999999999999999999", False),
        (b"Content-Length: 1000000000000000000", True),
        (b"CONTENT-LENGTH:\t 18446744073709551615 ", True),
        (b"X-Content-Length: 1000000000000000000", False),
        (b"Content-Range: bytes 1000000000000000000-", False),
    ],
)
def test_a_length_of_more_than_18_digits_is_huge(line: bytes, is_huge: bool) -> None:
    assert has_huge_length(request(b"A: b", line)) is is_huge


def test_outer_white_space_of_a_value_goes_and_inner_stays() -> None:
    head = parse_request_head(request(b"A: \t b  c \t ", b"B:", b"C: \t "), MAX_FIELDS)
    assert head.fields == [(b"A", b"b  c"), (b"B", b""), (b"C", b"")]
    assert parse_request_head(request(b"A: X\t"), MAX_FIELDS).fields == [(b"A", b"X")]


def test_a_head_without_fields_is_well_formed() -> None:
    assert parse_request_head(b"GET / HTTP/1.0\r\n\r\n", MAX_FIELDS).fields == []


def test_a_line_that_was_read_before_is_read_alike_and_stands_in_its_own_place() -> None:
    for lines in ((b"HOST:  h \t", b"Origin: o", b"Host: h"), (b"Origin: o", b"Host: h", b"HOST:  h \t")):
        head = parse_request_head(request(*lines), MAX_FIELDS)
        again = parse_request_head(request(*lines), MAX_FIELDS)
        assert again.fields == head.fields
        assert [name for name, _ in head.fields] == [line.partition(b":")[0] for line in lines]
        assert again.by_name == head.by_name == {b"host": (b"h", b"h"), b"origin": (b"o",)}


def test_the_memory_of_lines_is_bounded_and_knows_no_credential() -> None:
    for number in range(1500):
        parse_request_head(request(b"Origin: o%d" % number, b"Accept: " + b"x" * number), MAX_FIELDS)
    assert 0 < len(http1._LINES) <= 1024
    assert max(map(len, http1._LINES)) <= 256
    parse_request_head(
        request(b"Cookie: secret", b"Authorization: secret", b"Sec-WebSocket-Protocol: secret"), MAX_FIELDS
    )
    assert not [line for line in http1._LINES if b"secret" in line]


def test_bytes_above_ascii_pass_in_a_value_and_in_the_target() -> None:
    head = parse_request_head(request("A: é".encode(), start="GET /é HTTP/1.1".encode()), MAX_FIELDS)
    assert (head.target, head.fields) == ("/é".encode(), [(b"A", "é".encode())])


MALFORMED = [
    pytest.param(request(b"A: b", b" folded"), id="13-obs-fold-space"),
    pytest.param(request(b"A: b", b"\tfolded"), id="13-obs-fold-tab"),
    pytest.param(request(b" A: b"), id="13-folded-first-line"),
    pytest.param(b"GET / HTTP/1.1\nHost: a\n\n", id="14-bare-LF-everywhere"),
    pytest.param(b"GET / HTTP/1.1\r\nHost: a\nB: c\r\n\r\n", id="14-bare-LF-between-fields"),
    pytest.param(b"GET / HTTP/1.1\nHost: a\r\n\r\n", id="14-bare-LF-after-request-line"),
    pytest.param(b"GET / HTTP/1.1\r\nHost: a\rB: c\r\n\r\n", id="14-CR-without-LF"),
    pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\r\n\r\n", id="14-CR-CR-LF"),
    pytest.param(request(b"Host : a"), id="15-space-before-colon"),
    pytest.param(request(b"Host\t: a"), id="15-tab-before-colon"),
    pytest.param(request(b"A: b\x00c"), id="16-NUL-in-value"),
    pytest.param(request(b"A: b\x01c"), id="16-control-byte-in-value"),
    pytest.param(request(b"A: b\x7fc"), id="16-DEL-in-value"),
    pytest.param(request(b"A\x00: b"), id="16-NUL-in-name"),
    pytest.param(request("É: b".encode()), id="16-name-above-ASCII"),
    pytest.param(request(b": b"), id="empty-name"),
    pytest.param(request(b"no colon"), id="no-colon"),
    pytest.param(request(b"A(b): c"), id="delimiter-in-name"),
    pytest.param(request(start=b"GET  / HTTP/1.1"), id="two-spaces"),
    pytest.param(request(start=b"GET / HTTP/1.1 "), id="trailing-space"),
    pytest.param(request(start=b" GET / HTTP/1.1"), id="leading-space"),
    pytest.param(request(start=b"GET\t/\tHTTP/1.1"), id="tabs"),
    pytest.param(request(start=b"GET /a b HTTP/1.1"), id="26-space-in-target"),
    pytest.param(request(start=b"GET /a\x00 HTTP/1.1"), id="26-NUL-in-target"),
    pytest.param(request(start=b"GET /a\x7f HTTP/1.1"), id="26-DEL-in-target"),
    pytest.param(request(start=b"GET /"), id="8-HTTP/0.9"),
    pytest.param(request(start=b"GET / http/1.1"), id="lower-case-version"),
    pytest.param(request(start=b"GET / HTTP/1.10"), id="long-version"),
    pytest.param(request(start=b"GET / HTTP/1"), id="short-version"),
    pytest.param(request(start=b"GE(T / HTTP/1.1"), id="method-no-token"),
    pytest.param(request(start=b"/ HTTP/1.1"), id="no-method"),
    pytest.param(b"\r\n" + request(), id="empty-line-first"),
    pytest.param(request() + b"x", id="bytes-behind"),
    pytest.param(request(b"A: b")[:-2], id="no-end"),
    pytest.param(b"", id="empty"),
]


@pytest.mark.parametrize("head", MALFORMED)
def test_malformed_request_head_is_400(head: bytes) -> None:
    with pytest.raises(BadHead) as error:
        parse_request_head(head, MAX_FIELDS)
    assert error.value.status == 400


@pytest.mark.parametrize("version", [b"HTTP/2.0", b"HTTP/0.9", b"HTTP/3.0", b"HTTP/9.9"])
def test_another_major_version_is_505(version: bytes) -> None:
    with pytest.raises(BadHead) as error:
        parse_request_head(request(start=b"GET / " + version), MAX_FIELDS)
    assert error.value.status == 505


def test_as_many_fields_as_the_limit_pass_and_one_more_is_431() -> None:  # 18
    assert len(parse_request_head(request(*[b"A: b"] * MAX_FIELDS), MAX_FIELDS).fields) == MAX_FIELDS
    with pytest.raises(BadHead) as error:
        parse_request_head(request(*[b"A: b"] * (MAX_FIELDS + 1)), MAX_FIELDS)
    assert error.value.status == 431


@pytest.mark.parametrize(
    "target",
    [b"*", b"http://host/x", b"host:443", b"/a#b", b"/" + b"a" * 65536],
    ids=lambda target: target[:9],
)
def test_other_forms_of_a_target_are_the_callers_to_judge(target: bytes) -> None:  # 25, 26
    assert parse_request_head(b"GET %b HTTP/1.1\r\n\r\n" % target, MAX_FIELDS).target == target


@pytest.mark.parametrize("head", MALFORMED)
def test_an_error_repeats_nothing_that_was_sent(head: bytes) -> None:
    with pytest.raises(BadHead) as error:
        parse_request_head(head, MAX_FIELDS)
    assert error.value.detail == "The request head is malformed."


def test_a_megabyte_of_almost_a_head_is_refused_in_no_time() -> None:  # 18: no catastrophic backtracking
    with pytest.raises(BadHead):
        parse_request_head(request(b"A:" + b" \t" * 500_000 + b"\x00"), MAX_FIELDS)


_NAME = st.text("abcXYZ-!#1", min_size=1, max_size=8).map(str.encode)
_VALUE = st.text(
    st.characters(codec="latin-1", min_codepoint=0x21, exclude_characters="\x7f"), max_size=12
).map(
    lambda text: "".join(character for character in text if not 0x7F <= ord(character) < 0xA0).encode(
        "latin-1"
    )
)


@given(fields=st.lists(st.tuples(_NAME, _VALUE), max_size=MAX_FIELDS))
def test_fields_come_back_as_they_were_sent(fields: list[tuple[bytes, bytes]]) -> None:
    head = request(*[b"%b: %b" % field for field in fields])
    assert parse_request_head(head, MAX_FIELDS).fields == fields


@given(data=st.binary(max_size=200))
def test_any_bytes_are_a_head_or_a_bad_head(data: bytes) -> None:
    for parse in (parse_request_head, parse_response_head):
        with contextlib.suppress(BadHead):
            parse(data + b"\r\n\r\n", MAX_FIELDS)


# -- response heads ----------------------------------------------------------------------------


def test_an_upstreams_head_is_read() -> None:
    head = parse_response_head(response(b"A: b", start=b"HTTP/1.0 404 Not  Found"), MAX_FIELDS)
    assert (head.minor, head.status, head.reason, head.fields) == (0, 404, b"Not  Found", [(b"A", b"b")])
    assert head.values(b"a") == [b"b"]


@pytest.mark.parametrize("start", [b"HTTP/1.1 200", b"HTTP/1.1 200 "])
def test_a_reason_may_be_missing(start: bytes) -> None:
    assert parse_response_head(response(start=start), MAX_FIELDS).reason == b""


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(response(start=b"HTTP/2 200 OK"), id="HTTP/2"),
        pytest.param(response(start=b"HTTP/1.2 200 OK"), id="HTTP/1.2"),
        pytest.param(response(start=b"HTTP/1.1 099 Low"), id="status-below-100"),
        pytest.param(response(start=b"HTTP/1.1 20 OK"), id="two-digits"),
        pytest.param(response(start=b"HTTP/1.1 2000 OK"), id="four-digits"),
        pytest.param(response(start=b"HTTP/1.1  200 OK"), id="two-spaces"),
        pytest.param(response(start=b"ICY 200 OK"), id="no-HTTP"),
        pytest.param(response(start=b"HTTP/1.1 200 O\x00K"), id="NUL-in-reason"),
        pytest.param(response(b"A : b"), id="space-before-colon"),
        pytest.param(response(b"A: b", b" c"), id="obs-fold"),
        pytest.param(b"HTTP/1.1 200 OK\n\n", id="bare-LF"),
        pytest.param(response(*[b"A: b"] * (MAX_FIELDS + 1)), id="too-many-fields"),
    ],
)
def test_a_bad_response_head_is_502(head: bytes) -> None:
    with pytest.raises(BadHead) as error:
        parse_response_head(head, MAX_FIELDS)
    assert error.value.status == 502


def test_an_upstreams_head_may_have_as_many_fields_as_the_limit() -> None:
    assert len(parse_response_head(response(*[b"A: b"] * MAX_FIELDS), MAX_FIELDS).fields) == MAX_FIELDS


# -- tokens --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([b"Upgrade"], [b"upgrade"]),
        ([b"keep-alive, Upgrade"], [b"keep-alive", b"upgrade"]),
        ([b"keep-alive", b"upgrade"], [b"keep-alive", b"upgrade"]),
        ([b",, A ,\tX,"], [b"a", b"x"]),
        ([b"notupgrade"], [b"notupgrade"]),
        ([], []),
        ([b""], []),
    ],
)
def test_tokens_of_all_lines_of_a_field_are_one_list_in_lower_case(
    values: list[bytes], expected: list[bytes]
) -> None:
    assert tokens(values) == expected
