"""What is said about requests that aiohttp does not parse."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from aiohttp.http_exceptions import BadHttpMessage, InvalidURLError, LineTooLong

from bascule.gateway.listening.unparsed import complaint

if TYPE_CHECKING:
    from tests.gateway.plain_support import World

HOST = b"Host: a\r\n"


@pytest.mark.parametrize(
    ("head", "word"),
    [
        pytest.param(b"GET / HTTP/1.1\r\nA: b\r\n", "no Host field", id="no host"),
        pytest.param(b"GET / HTTP/1.1\r\n" + HOST + HOST, "more than one Host field", id="two hosts"),
        pytest.param(
            b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\nContent-Length: 1\r\n",
            "more than one Content-Length field",
            id="two lengths",
        ),
        pytest.param(
            b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n",
            "both Content-Length and Transfer-Encoding",
            id="length and chunks",
        ),
        pytest.param(
            b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: secret\r\n", "Content-Length", id="no number"
        ),
        pytest.param(
            b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked, secret\r\n",
            "Transfer-Encoding",
            id="another coding",
        ),
        pytest.param(b"SECRET() / HTTP/1.1\r\n" + HOST, "method", id="method"),
        pytest.param(b"GET / HTTP/1.1\r\n" + HOST + b"secret\r\n", "colon", id="no colon"),
        pytest.param(b"GET / HTTP/1.1\r\n" + HOST + b"A: secret\x01\r\n", "control character", id="control"),
        pytest.param(b"GET / HTTP/1.1\r\n" + HOST + b" secret\r\n", "folded", id="folded"),
        pytest.param(b"GET http://[secret HTTP/1.1\r\n" + HOST, "target", id="target"),
        pytest.param(b"GET secret HTTP/1.1\r\n" + HOST, "target", id="no slash"),
        pytest.param(b"GET /a secret HTTP/1.1\r\n" + HOST, "request line", id="request line"),
    ],
)
async def test_a_400_says_what_is_wrong_and_repeats_nothing(world: World, head: bytes, word: str) -> None:
    front = await world.front(9)
    peer = await front.connect()
    await peer.send(head + b"\r\n")
    got = await peer.message()
    assert got.status == 400
    assert word in got.body.decode()
    assert b"secret" not in got.body.lower()


def test_what_is_not_known_gets_a_general_answer_without_its_text() -> None:
    assert complaint(BadHttpMessage("new: secret")) == (400, "The request could not be understood.")
    assert complaint(ValueError("secret")) == (400, "The request could not be understood.")
    assert "secret" not in complaint(InvalidURLError("secret"))[1]


def test_a_head_that_is_too_large_is_431() -> None:
    assert complaint(LineTooLong(b"secret", 1)) == (431, "The request head is too large.")
    assert complaint(BadHttpMessage("Too many headers received"))[0] == 431
