"""Fields that are defined for one line and come on several: which pass, and which are refused by name."""

from __future__ import annotations

import pytest

from bascule.errors import RequestRefused
from bascule.protocol.http1 import parse_request_head
from bascule.protocol.repeated import check_repeated, have_repeats, with_first_lines, written_once

START = b"POST /x?y HTTP/1.1\r\n"


def head(*lines: bytes) -> bytes:
    return START + b"".join(line + b"\r\n" for line in lines) + b"\r\n"


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        ((b"Host: a", b"User-Agent: b"), False),
        ((b"Cookie: a", b"Cookie: b", b"Accept: a", b"Accept: b"), False),
        ((b"X-Host: a", b"Host: a", b"Server-Timing: a", b"Server: a"), False),
        ((b"X: Host:", b"Host: a"), False),
        ((b"Host: a", b"host: a"), True),
        ((b"USER-AGENT: a", b"Host: a", b"user-agent: a"), True),
        ((b"Content-Type: a", b"Content-Type: b"), True),
    ],
)
def test_only_fields_that_are_defined_for_one_line_count_as_repeated(
    lines: tuple[bytes, ...], found: bool
) -> None:
    assert have_repeats(head(*lines)) is found


@pytest.mark.parametrize(
    "lines",
    [
        (b"User-Agent: a", b"User-Agent: b"),
        (b"ETag: a", b"etag: b", b"Server: a", b"Server: b"),
        (b"Max-Forwards: 1", b"Max-Forwards: 2"),
        (b"Content-Location: a", b"Content-Location: b"),
        (b"Content-Type: a", b"Content-Type: a"),
        (b"Content-Range: bytes 0-1/2", b"Content-Range: bytes 0-1/2"),
        (b"Cookie: a", b"Cookie: b"),
    ],
)
def test_repeats_that_mislead_nobody_pass(lines: tuple[bytes, ...]) -> None:
    check_repeated(parse_request_head(head(b"Host: a", *lines), 9))


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (
            (b"Host: secret", b"host: secret"),
            "The request has more than one Host field; only one is allowed.",
        ),
        (
            (b"Content-Length: 1", b"Content-Length: 1"),
            "The request has more than one Content-Length field; only one is allowed.",
        ),
        (
            (b"Transfer-Encoding: gzip", b"Transfer-Encoding: chunked"),
            "The request has more than one Transfer-Encoding field; only one is allowed.",
        ),
        (
            (b"Content-Type: a", b"Content-Type: secret"),
            "The request has several Content-Type fields, and they differ.",
        ),
        (
            (b"Content-Range: a", b"Content-Range: secret"),
            "The request has several Content-Range fields, and they differ.",
        ),
    ],
)
def test_repeats_that_two_servers_could_read_differently_are_refused_by_name(
    lines: tuple[bytes, ...], said: str
) -> None:
    with pytest.raises(RequestRefused) as refused:
        check_repeated(parse_request_head(head(*lines), 9))
    assert (refused.value.status, refused.value.detail) == (400, said)


def test_a_head_written_once_keeps_the_first_line_of_these_fields_and_all_lines_of_others() -> None:
    lines = (b"Host: a", b"Cookie: 1", b"user-agent: a", b"Cookie: 2", b"User-Agent: b", b"X: \xff")
    once = written_once(parse_request_head(head(*lines), 9))
    assert once == head(b"Host: a", b"Cookie: 1", b"user-agent: a", b"Cookie: 2", b"X: \xff")
    assert not have_repeats(once)


def test_a_listener_of_ours_reads_the_first_line_only() -> None:
    once = with_first_lines(head(b"Host: a", b"User-Agent: a", b"User-Agent: b"), 9)
    assert once == head(b"Host: a", b"User-Agent: a")


@pytest.mark.parametrize(
    "raw",
    [
        head(b"Host: a", b"Host: b"),
        head(b"Host: a", b"User-Agent: a", b"User-Agent: b", b"broken"),
        head(*[b"User-Agent: a"] * 10),
        b"\nHost: a\nhost: a\n",
    ],
    ids=["whose", "malformed", "too many", "the rest of a head"],
)
def test_what_is_no_head_or_contradicts_itself_is_left_to_the_parser_of_that_listener(raw: bytes) -> None:
    assert have_repeats(raw)
    assert with_first_lines(raw, 9) == raw
