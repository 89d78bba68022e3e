"""A body ends where it can end in one way only, however its bytes are cut."""

from __future__ import annotations

from typing import cast

import pytest
from aiohttp import HttpVersion11, StreamReader
from aiohttp.http import RawRequestMessage
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from bascule.gateway.listening.bodyspan import BodySpan

NEXT = b"GET / HTTP/1.1\r\n"
PLAIN = b"3\r\nabc\r\n10\r\n0123456789abcdef\r\n0\r\n\r\n"
BODY = cast("StreamReader", object())


def span(length: int | None, *, chunked: bool = False) -> BodySpan:
    """Return the span of a body with that Content-Length; ``None`` for none."""
    fields = CIMultiDict[str]() if length is None else CIMultiDict({"Content-Length": str(length)})
    head = RawRequestMessage(
        "POST", "/", HttpVersion11, CIMultiDictProxy(fields), (), False, None, False, chunked, URL("/")
    )
    return BodySpan(head, BODY)


def pieces(data: bytes, cut: int) -> list[bytes]:
    """Cut data into pieces of that many bytes."""
    return [data[at : at + cut] for at in range(0, len(data), cut)]


def taken(body: BodySpan, data: bytes, cut: int) -> bytes:
    """Return what a body takes of data, up to its end."""
    got = b""
    for piece in pieces(data, cut):
        got += body.take(piece)
        if body.is_over:
            break
    return got


@pytest.mark.parametrize("cut", [1, 2, 5, 100])
def test_a_body_with_a_length_ends_there(cut: int) -> None:
    body = span(5)
    assert taken(body, b"12345" + NEXT, cut) == b"12345"
    assert (body.is_over, body.ended_plainly) == (True, False)


@pytest.mark.parametrize("cut", [1, 2, 5, 100])
def test_chunks_end_behind_the_last_of_them(cut: int) -> None:
    body = span(None, chunked=True)
    assert taken(body, PLAIN + NEXT, cut) == PLAIN
    assert (body.is_over, body.ended_plainly) == (True, True)


@pytest.mark.parametrize("cut", [1, 2, 5, 100])
@pytest.mark.parametrize(
    "sent",
    [
        b"3;a=b\r\nabc\r\n0\r\n\r\n",
        b"3\r\nabc\r\n0\r\nX: y\r\n\r\n",
        b"3\r\nabcd\r\n0\r\n\r\n",
        b"3\nabc\r\n0\r\n\r\n",
        b"x\r\n0\r\n\r\n",
    ],
    ids=["an extension", "a trailer", "too many bytes", "a bare line feed", "no size"],
)
def test_chunks_that_may_be_read_in_two_ways_have_no_end(sent: bytes, cut: int) -> None:
    body = span(None, chunked=True)
    assert taken(body, sent + NEXT, cut) == sent + NEXT
    assert (body.is_over, body.ended_plainly) == (False, False)


def test_a_body_without_a_length_has_no_end() -> None:
    body = span(None)
    assert taken(body, PLAIN + NEXT, 7) == PLAIN + NEXT
    assert not body.is_over
