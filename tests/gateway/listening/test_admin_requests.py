"""What the admin listener cannot parse, or does not take, is told as a problem and repeated nowhere."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
from aiohttp import web

from bascule.admin.api import Administration
from bascule.admin.problem import problems
from tests.admin.fake_view import FakeView, config
from tests.gateway.listening.admin_support import served
from tests.support.waiting import eventually_async

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from bascule.gateway.listening import admin as module
    from tests.gateway.plain_support import Message, Peer

SECRET = "TOPSECRET"
TOKEN = "a-token-nobody-guesses"
HOST = b"Host: 127.0.0.1\r\n"
GIVEN = b"Authorization: Bearer " + TOKEN.encode() + b"\r\n"
POST = b"POST /api/routes/a HTTP/1.1\r\n" + HOST
ZIPPED = b"Content-Encoding: gzip\r\nContent-Length: 9\r\n\r\n" + SECRET.encode()
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"


@pytest_asyncio.fixture
async def admin(caplog: pytest.LogCaptureFixture) -> AsyncIterator[Peer]:
    """Connect to the admin API; nothing that is sent to it is worth more than a debug line, nor repeated."""
    caplog.set_level(logging.DEBUG)
    async with served(Administration(FakeView(config(admin_token=TOKEN))).app) as peer:
        yield peer
    assert [record for record in caplog.records if record.levelno > logging.DEBUG] == []
    assert SECRET not in caplog.text
    assert TOKEN not in caplog.text


def _is_problem(answer: Message, status: int) -> None:
    assert answer.start_line.startswith(b"HTTP/1.1 %d " % status)
    assert answer.value(b"Content-Type") == b"application/problem+json"
    assert answer.value(b"Server") == b"bascule"
    assert answer.value(b"Cache-Control") == b"no-store"
    assert answer.value(b"X-Content-Type-Options") == b"nosniff"
    assert json.loads(answer.body)["status"] == status
    assert SECRET.encode() not in answer.body


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET / HTTP/1.1\r\n" + HOST + b"Authorization: Bearer TOPSECRET\r\r\n\r\n", 400),
        (b"GET /metrics?token=TOPSECRET HTTP/1.x\r\n\r\n", 400),
        (b"TOPSECRET\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + HOST + b"Authorization: " + b"TOPSECRET" * 1000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + HOST + b"A: TOPSECRET\r\n" * 129 + b"\r\n", 431),
        (POST + CHUNKED + b"TOPSECRET\r\n", 400),
    ],
)
async def test_what_does_not_parse_is_repeatednowhere(admin: Peer, request_bytes: bytes, status: int) -> None:
    await admin.send(request_bytes)
    answer = await admin.message()
    _is_problem(answer, status)
    assert answer.value(b"Connection") == b"close"
    assert await admin.ended()


@pytest.mark.parametrize("method", [b"PUT", b"PROPFIND", b"BREW"])
@pytest.mark.parametrize(
    ("path", "allowed"), [(b"/sessions", b"DELETE,GET,HEAD"), (b"/drain", b"POST"), (b"/events", b"GET")]
)
async def test_a_method_that_a_path_does_not_have_is_answered_with_those_that_it_has(
    admin: Peer, method: bytes, path: bytes, allowed: bytes
) -> None:
    await admin.send(b"%b %b HTTP/1.1\r\n" % (method, path) + HOST + b"Content-Length: 0\r\n\r\n")
    answer = await admin.message()
    _is_problem(answer, 405)
    assert answer.value(b"Allow") == allowed
    await admin.send(b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\n")  # and the connection goes on
    assert (await admin.message()).status == 200


async def test_a_method_that_nobody_knows_is_the_pools_words_at_metrics(admin: Peer) -> None:
    await admin.send(b"BREW /metrics HTTP/1.1\r\n" + HOST + b"\r\n")
    answer = await admin.message()
    assert (answer.status, answer.body) == (405, b"HTTP method [BREW] not allowed\n")


async def test_a_head_in_pieces_has_the_method_that_was_sent(
    admin_connections: list[module._Connection], admin: Peer
) -> None:
    await admin.send(b"GE")
    await eventually_async(lambda: not admin_connections[0]._is_first, 10.0, "it is read alone")
    await admin.send(b"T /healthz HTTP/1.1\r\n" + HOST + b"\r\n")
    assert (await admin.message()).status == 200
    await admin.send(b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\nGE")
    assert (await admin.message()).status == 200
    await admin.send(b"T /healthz HTTP/1.1\r\n" + HOST + b"\r\n")
    assert (await admin.message()).status == 200


@pytest.mark.parametrize("path", [b"/metrics", b"/nothing", b"/api/routes/a"])
async def test_an_expectation_that_nobody_meets_is_a_problem(admin: Peer, path: bytes) -> None:
    await admin.send(b"GET %b HTTP/1.1\r\n" % path + HOST + b"Expect: TOPSECRET\r\n\r\n")
    _is_problem(await admin.message(), 417)


@pytest.mark.parametrize(("credentials", "status"), [(b"", 403), (GIVEN, 400)])
async def test_a_body_is_never_unpacked(admin: Peer, credentials: bytes, status: int) -> None:
    await admin.send(POST + credentials + ZIPPED)
    _is_problem(await admin.message(), status)
    await admin.send(POST + credentials + ZIPPED)  # and the connection goes on
    _is_problem(await admin.message(), status)


async def test_a_body_whose_framing_breaks_is_a_bad_request(admin: Peer) -> None:
    await admin.send(POST + GIVEN + b"Expect: 100-continue\r\n" + CHUNKED)
    assert (await admin.head()).status == 100
    await admin.send(b"TOPSECRET\r\n")
    _is_problem(await admin.message(), 400)
    assert await admin.ended()


@pytest.mark.parametrize(
    "first",
    [
        POST + GIVEN + CHUNKED + b"0\r\nX-User: TOPSECRET\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\n" + HOST + b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
    ],
    ids=["trailer", "upgrade"],
)
async def test_nobody_is_taken_for_another_who_shares_a_connection(admin: Peer, first: bytes) -> None:
    """The parser puts a trailer among the next request's fields, and loses what came behind an upgrade."""
    await admin.send(first)
    assert (await admin.message()).value(b"Connection") == b"close"
    assert await admin.ended()


async def test_a_field_that_a_proxy_sends_twice_is_as_welcome_as_at_the_public_listener(admin: Peer) -> None:
    twice = HOST + b"User-Agent: TOPSECRET\r\nX: 1\r\nuser-agent: TOPSECRET\r\n"
    for _ in range(2):
        await admin.send(b"GET /healthz HTTP/1.1\r\n" + twice + b"\r\n")
        assert (await admin.message()).status == 200
    body = b'{"target": "http://127.0.0.1:9"}'
    lines = twice + GIVEN + b"Content-Length: %d\r\n\r\n" % len(body)
    await admin.send(b"POST /api/routes/a HTTP/1.1\r\n" + lines + body)
    assert (await admin.message()).status == 201


@pytest.mark.parametrize("twice", [b"Host: a\r\n", b"Content-Type: a\r\nContent-Type: TOPSECRET\r\n"])
async def test_fields_that_contradict_each_other_are_refused_here_too(admin: Peer, twice: bytes) -> None:
    await admin.send(b"GET /healthz HTTP/1.1\r\n" + HOST + twice + b"\r\n")
    _is_problem(await admin.message(), 400)
    assert await admin.ended()


@pytest.mark.parametrize("count", [1, 3])
async def test_who_has_said_all_behind_its_requests_is_answered(admin: Peer, count: int) -> None:
    """As `socat` and `nc -N` do."""
    await admin.send((b"GET /metrics HTTP/1.1\r\n" + HOST + b"\r\n") * count)
    admin.writer.write_eof()
    for _ in range(count):
        assert (await admin.message()).status == 200
    assert await admin.ended()


@pytest.mark.parametrize("said", [b"", b"GET /metrics HTTP/1.1\r\n"])
async def test_who_has_said_all_and_no_whole_request_is_let_go(admin: Peer, said: bytes) -> None:
    await admin.send(said)
    admin.writer.write_eof()
    assert await admin.ended()


async def test_a_client_that_leaves_with_its_body_half_sent_is_no_fault(
    caplog: pytest.LogCaptureFixture,
) -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def read(request: web.Request) -> web.Response:
        begun.set()
        try:
            await request.read()
        finally:
            ended.set()
        raise AssertionError

    app = web.Application(middlewares=[problems])
    app.router.add_post("/", read)
    async with served(app) as peer, asyncio.timeout(5):
        await peer.send(b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 9\r\n\r\nhalf")
        await begun.wait()
        peer.writer.transport.abort()
        await ended.wait()
    assert caplog.records == []
