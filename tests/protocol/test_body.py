"""Where a body ends, by the fields of its head and by its chunks; what leaves that in doubt is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule.protocol.body import ChunkScanner, Framing, framing_of
from bascule.protocol.http1 import BadHead, parse_response_head
from tests.support.feeding import Cut, chopped, each_way, every_split

MAX_FIELDS = 20


def response(*lines: bytes, start: bytes = b"HTTP/1.1 200 OK") -> bytes:
    return b"\r\n".join([start, *lines, b"", b""])


@pytest.mark.parametrize(
    ("status", "fields", "framing"),
    [
        (200, [], Framing(False, -1)),
        (200, [b"Content-Length: 0"], Framing(False, 0)),
        (404, [b"Content-Length: 12"], Framing(False, 12)),
        (200, [b"Content-Length: " + b"9" * 18], Framing(False, 10**18 - 1)),
        (200, [b"Transfer-Encoding: Chunked"], Framing(True, -1)),
        (204, [b"Content-Length: 12"], Framing(False, 0)),
        (304, [b"Content-Length: 12"], Framing(False, 0)),
        (304, [b"Transfer-Encoding: chunked"], Framing(False, 0)),
        (200, [b"Transfer-Encoding: identity"], Framing(False, -1)),
        (599, [], Framing(False, -1)),
        (203, [], Framing(False, -1)),
        (205, [], Framing(False, -1)),
        (303, [], Framing(False, -1)),
        (305, [], Framing(False, -1)),
    ],
)
def test_the_fields_of_an_answer_say_where_its_body_ends(
    status: int, fields: list[bytes], framing: Framing
) -> None:
    head = parse_response_head(response(*fields, start=b"HTTP/1.1 %d X" % status), MAX_FIELDS)
    assert framing_of(head) == framing


@pytest.mark.parametrize(
    "fields",
    [
        [b"Transfer-Encoding: gzip"],
        [b"Transfer-Encoding: gzip, chunked"],
        [b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"],
        [b"Transfer-Encoding: chunked,"],
        [b"Transfer-Encoding: , chunked"],
        [b"Transfer-Encoding:", b"Transfer-Encoding: chunked"],
        [b"Transfer-Encoding: chunked", b"Content-Length: 12"],
        [b"Transfer-Encoding: identity", b"Content-Length: 12"],
        [b"Content-Length: 12", b"Content-Length: 12"],
        [b"Content-Length: 12, 12"],
        [b"Content-Length:"],
        [b"Content-Length: -1"],
        [b"Content-Length: +1"],
        [b"Content-Length: 0x1"],
        [b"Content-Length: " + b"9" * 19],
    ],
)
@pytest.mark.parametrize("status", [200, 204, 304])
def test_fields_that_leave_the_end_of_a_body_in_doubt_are_502(fields: list[bytes], status: int) -> None:
    start = b"HTTP/1.1 %d X" % status
    with pytest.raises(BadHead) as caught:
        framing_of(parse_response_head(response(*fields, start=start), MAX_FIELDS))
    assert caught.value.status == 502


@pytest.mark.parametrize(
    "head",
    [
        response(start=b"HTTP/1.1 600 X"),
        response(b"Content-Length: 0", start=b"HTTP/1.1 799 X"),
        response(b"Transfer-Encoding: chunked", start=b"HTTP/1.0 200 OK"),
        response(b"Transfer-Encoding: identity", start=b"HTTP/1.0 404 Not Found"),
    ],
)
def test_a_status_of_no_class_and_a_coding_that_http_1_0_does_not_know_are_502(head: bytes) -> None:
    with pytest.raises(BadHead) as caught:
        framing_of(parse_response_head(head, MAX_FIELDS))
    assert caught.value.status == 502


# -- chunked bodies --------------------------------------------------------------------------------

CHUNKED = b"5\r\nhello\r\nA;ext=1\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\n"


@each_way
def test_the_end_of_a_chunked_body_is_found(cut: Cut) -> None:
    scanner = ChunkScanner()
    pieces = cut(CHUNKED)
    assert [scanner.feed(piece) for piece in pieces] == [len(piece) for piece in pieces]
    assert scanner.done


def test_the_end_is_found_at_every_split() -> None:
    for pieces in every_split(CHUNKED):
        scanner = ChunkScanner()
        assert sum(scanner.feed(piece) for piece in pieces) == len(CHUNKED)
        assert scanner.done


@pytest.mark.parametrize(
    ("body", "plain"),
    [
        (b"0\r\n\r\n", True),
        (b"5\r\nhello\r\nA\r\n0123456789\r\n0\r\n\r\n", True),
        (b"5\r\na;b=c\r\n0\r\n\r\n", True),
        (b"5;a\r\nhello\r\n0\r\n\r\n", False),
        (b"0 ;a\r\n\r\n", False),
        (b"5\r\nhello\r\n0\r\nX: y\r\n\r\n", False),
    ],
)
@each_way
def test_extensions_and_trailers_are_seen(body: bytes, plain: bool, cut: Cut) -> None:
    scanner = ChunkScanner()
    for piece in cut(body):
        scanner.feed(piece)
    assert (scanner.done, scanner.is_plain) == (True, plain)


def test_what_comes_behind_the_body_is_left() -> None:
    assert ChunkScanner().feed(CHUNKED + b"next") == len(CHUNKED)


def test_nothing_is_taken_once_it_is_done() -> None:
    scanner = ChunkScanner()
    scanner.feed(CHUNKED)
    assert scanner.feed(b"more") == 0


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"5\nhello\r\n", id="bare-LF"),
        pytest.param(b"\r\n", id="no-size"),
        pytest.param(b"-5\r\n", id="negative"),
        pytest.param(b"+5\r\n", id="plus"),
        pytest.param(b"0x5\r\n", id="0x"),
        pytest.param(b"5 5\r\n", id="space"),
        pytest.param(b"1" * 16 + b"\r\n", id="16-digits"),
        pytest.param(b"5\r\nhelloXX0\r\n\r\n", id="no-CRLF-behind-a-chunk"),
        pytest.param(b"5\r\nhelloX\r\n0\r\n\r\n", id="one-byte-behind-a-chunk"),
        pytest.param(b"5\r\nhello\n0\r\n\r\n", id="bare-LF-behind-a-chunk"),
        pytest.param(b"5\r\nhello world\r\n0\r\n\r\n", id="chunk-longer-than-its-size"),
        pytest.param(b"5;" + b"x" * 1100 + b"\r\n", id="long-extension"),
        pytest.param(b"0\r\nA: b\n\r\n", id="bare-LF-in-trailer"),
        pytest.param(b"f" * 2000, id="endless-size"),
    ],
)
@each_way
def test_a_malformed_chunked_body_is_502(body: bytes, cut: Cut) -> None:
    scanner = ChunkScanner()
    with pytest.raises(BadHead) as error:
        [scanner.feed(piece) for piece in cut(body)]
    assert error.value.status == 502


@given(data=st.data(), chunks=st.lists(st.binary(min_size=1, max_size=40), max_size=5))
def test_any_cut_of_any_chunked_body_ends_at_its_end(data: st.DataObject, chunks: list[bytes]) -> None:
    body = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    scanner = ChunkScanner()
    assert sum(scanner.feed(piece) for piece in data.draw(chopped(body + b"rest"))) == len(body)
