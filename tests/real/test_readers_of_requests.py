"""What Bascule forwards is one request to every parser, with the same target and body; or it is refused.

Each request is made so that two parsers might read it in two ways. Behind it, on the same connection, comes
another; then one on a connection of its own, which gets the upstream's connection that was used before.
Each must be answered for itself, and the upstream must have read no request but these.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import pytest

from tests.support.rawclient import Answer, RawClient, connected
from tests.support.readers import READERS, run_reader

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Start

pytestmark = pytest.mark.real

SMUGGLED: Final = b"GET /smuggled HTTP/1.1\r\nHost: front\r\n\r\n"
LENGTH: Final = b"Content-Length: 5"
CHUNKED: Final = b"Transfer-Encoding: chunked"
CHUNKS: Final = b"5\r\nhello\r\n0\r\n\r\n"


class Read(NamedTuple):
    """What every reader is to make of a request, unless it refuses it."""

    method: str
    target: str
    body: str


def request(line: bytes, *fields: bytes, body: bytes = b"") -> bytes:
    version = b"" if b" HTTP/" in line else b" HTTP/1.1"
    return b"\r\n".join([line + version, b"Host: front", *fields, b"", body])


def body_of(method: bytes) -> bytes:
    return request(method + b" /x", b"Content-Length: %d" % len(SMUGGLED), body=SMUGGLED)


GOT, HELLO = Read("GET", "/x", ""), Read("POST", "/x", "hello")
SMUGGLING: Final = SMUGGLED.decode()
POST, GET = b"POST /x", b"GET /x"

CASES: Final[dict[str, tuple[bytes, Read | int]]] = {
    # Where a body ends.
    "a length": (request(POST, LENGTH, body=b"hello"), HELLO),
    "a length with zeros": (request(POST, b"Content-Length: 0005", body=b"hello"), HELLO),
    "a length behind a tab": (request(POST, b"Content-Length:\t5\t", body=b"hello"), HELLO),
    "a length below 2**64": (request(POST, b"Content-Length: 18446744073709551615", body=b"hello"), 400),
    "a length of 2**63": (request(POST, b"Content-Length: 9223372036854775808", body=b"hello"), 400),
    "a length with a sign": (request(POST, b"Content-Length: +5", body=b"hello"), 400),
    "two lengths": (request(POST, LENGTH, b"Content-Length: 6", body=b"hello!"), 400),
    "a length and chunks": (request(POST, b"Content-Length: 4", CHUNKED, body=CHUNKS), 400),
    "a length that looks like another": (request(POST, LENGTH, b"Content_Length: 44", body=b"hello"), HELLO),
    "chunks": (request(POST, CHUNKED, body=CHUNKS), HELLO),
    "chunks in capitals": (request(POST, b"TRANSFER-ENCODING: CHUNKED", body=CHUNKS), HELLO),
    "chunks with a tab": (request(POST, CHUNKED + b"\t", body=CHUNKS), 400),
    "chunks that look like another coding": (
        request(POST, b"Transfer_Encoding: chunked"),
        Read("POST", "/x", ""),
    ),
    "chunks of HTTP/1.0": (
        request(POST + b" HTTP/1.0", CHUNKED, b"Connection: keep-alive", body=CHUNKS),
        400,
    ),
    "chunks of a nominated coding": (
        request(POST, b"Connection: Transfer-Encoding", CHUNKED, body=CHUNKS),
        HELLO,
    ),
    "a nominated length": (request(POST, b"Connection: Content-Length", LENGTH, body=b"hello"), HELLO),
    "an extension": (request(POST, CHUNKED, body=b'5;a="b"\r\nhello\r\n0\r\n\r\n'), HELLO),
    "a trailer": (request(POST, CHUNKED, body=b"5\r\nhello\r\n0\r\nContent-Length: 44\r\n\r\n"), HELLO),
    "a size in hexadecimal with zeros": (request(POST, CHUNKED, body=b"0005\r\nhello\r\n00\r\n\r\n"), HELLO),
    "a size of 0x5": (request(POST, CHUNKED, body=b"0x5\r\nhello\r\n0\r\n\r\n"), 400),
    "a line feed behind a chunk": (request(POST, CHUNKED, body=b"5\r\nhello\n0\r\n\r\n"), 400),
    "an invitation": (request(POST, b"Expect: 100-continue", LENGTH, body=b"hello"), HELLO),
    "a request in the body of a POST": (body_of(b"POST"), Read("POST", "/x", SMUGGLING)),
    "a request in the body of a GET": (body_of(b"GET"), Read("GET", "/x", SMUGGLING)),
    "a request in the body of a DELETE": (body_of(b"DELETE"), Read("DELETE", "/x", SMUGGLING)),
    "a request in the body of OPTIONS": (body_of(b"OPTIONS"), Read("OPTIONS", "/x", SMUGGLING)),
    "a body of HEAD": (body_of(b"HEAD"), Read("HEAD", "/x", SMUGGLING)),
    "h2c with a body": (request(POST, b"Connection: Upgrade", b"Upgrade: h2c", CHUNKED, body=CHUNKS), HELLO),
    # Where a line ends.
    "a line break of Unicode": (request(GET, "X: a\x85Transfer-Encoding: chunked".encode("latin-1")), GOT),
    "a vertical tab": (request(GET, b"X: a\x0bTransfer-Encoding: chunked"), 400),
    "a line feed": (request(GET, b"X: a\nTransfer-Encoding: chunked"), 400),
    "a carriage return": (request(GET, b"X: a\rTransfer-Encoding: chunked"), 400),
    "a folded field": (request(GET, b"X: a\r\n Transfer-Encoding: chunked"), 400),
    "an escaped line break": (request(GET, b"X: a%0d%0aTransfer-Encoding: chunked"), GOT),
    "white space before a colon": (request(POST, b"Content-Length : 5", body=b"hello"), 400),
    "an empty line in front": (b"\r\n" + request(GET), GOT),
    # What is asked for.
    "a target in absolute form": (request(b"GET http://front/x"), GOT),
    "an absolute form in a query": (request(b"GET /x?http://y/"), Read("GET", "/x?http://y/", "")),
    "escapes": (request(b"GET /%41%2f?%0d%0a"), Read("GET", "/%41%2f?%0d%0a", "")),
    "odd characters": (request(b'GET /[a]{b}|^`"?<>\\'), Read("GET", '/[a]{b}|^`"?<>\\', "")),
    "a space in the target": (request(b"GET /a b"), 400),
    "two hosts": (request(GET, b"Host: other"), 400),
    "HTTP/0.9": (b"GET /x\r\n\r\n", 505),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
}


def reading(answer: Answer) -> tuple[Read, int]:
    """Return what the upstream read, and its count of requests."""
    said: dict[str, Any] = json.loads(answer.body)
    return Read(said["method"], said["target"], said["body"]), said["count"]


def final(client: RawClient) -> Answer:
    """Read an answer, and skip interim ones."""
    while (answer := client.answer()).status == 100:
        pass
    return answer


class Front:
    """Bascule in front of a reader.

    Args:
        url: Its URL.
        is_careless: Whether the reader reads a body of POST only.
    """

    def __init__(self, url: str, is_careless: bool) -> None:
        self._url = url
        self._is_careless = is_careless

    def ask(self, target: str) -> int:
        """Ask on a connection of its own, and return how many requests were read by now."""
        with connected(self._url) as client:
            client.send(request(b"GET " + target.encode()))
            read, count = reading(final(client))
            assert read == Read("GET", target, ""), f"{target} is read as {read}"
            return count

    def send(self, sent: bytes, expected: Read | int) -> int:
        """Send a request and another one behind it, and return how many were read rightly."""
        with connected(self._url) as client:
            client.send(sent + request(b"GET /behind"))
            answer = client.head() if sent.startswith(b"HEAD") else final(client)
            if isinstance(expected, int):
                assert (answer.status, client.rest()) == (expected, b""), f"not refused, but {answer}"
                return 0
            assert answer.status < 500, answer
            if answer.body and answer.status == 200:
                read, _ = reading(answer)
                unread = expected._replace(body="") if expected.method != "POST" else expected
                assert read in ((expected, unread) if self._is_careless else (expected,)), f"read as {read}"
            count = int(answer.status == 200)  # else the reader refuses it
            if b"close" in answer.values(b"Connection"):
                return count
            behind, _ = reading(final(client))
            assert behind == Read("GET", "/behind", ""), f"what is behind it is read as {behind}"
            return count + 1


@pytest.mark.parametrize("reader", READERS)
def test_each_request_is_one_to_every_reader(reader: str, bascule: Start, tmp_path: Path) -> None:
    found: list[str] = []
    with run_reader(reader, tmp_path) as upstream:
        proxy = bascule({"routes": [{"name": "reader", "path": "/", "upstream": upstream}]})
        front = Front(proxy.public_url, reader == "careless")
        for name, (sent, expected) in CASES.items():
            try:
                before = front.ask("/before")
                read = front.send(sent, expected)
                assert front.ask("/after") - before == read + 1, "another number of requests was read"
            except (AssertionError, TimeoutError) as error:
                found.append(f"{name}: {error}")
    assert found == []
