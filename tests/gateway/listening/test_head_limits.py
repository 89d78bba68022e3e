"""Heads that are too large, or never whole, on connections that aiohttp serves: it bounds neither."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from bascule.configuration.config import Config, Limits
from bascule.gateway.connections.bounded import Bounded
from bascule.gateway.life import Life
from bascule.gateway.listening.http import HttpServer
from bascule.gateway.listening.keptalive import HttpProtocol
from tests.support.certificates import make_certificate
from tests.support.waiting import eventually_async

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from bascule.gateway.listening.upgrade import UpgradeRequest


MOST = 1024
PATIENCE = 1.0
PLAIN = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
BEGUN = PLAIN.removesuffix(b"\r\n")
TOO_MUCH = BEGUN + b"".join(b"X-%d: %b\r\n" % (number, b"a" * 100) for number in range(20))
HANDSHAKE = (
    b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: " + base64.b64encode(b"k" * 16) + b"\r\n\r\n"
)


class Server:
    """A gateway's HTTP side."""

    def __init__(self, client: ssl.SSLContext | None) -> None:
        self.client = client
        self.port = 0
        self.taken = 0
        self.begun = asyncio.Event()
        self.slow = asyncio.Event()
        self.http = HttpServer(self.answer, Config(limits=LIMITS), self.on_upgrade, Life())

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.path == "/slow":
            self.begun.set()
            await self.slow.wait()
        return web.Response(text="plain")

    async def on_upgrade(self, request: UpgradeRequest) -> None:
        self.taken += 1
        request.leg.close()


LIMITS = Limits(request_head_bytes=MOST, request_fields=50, handshake_timeout=PATIENCE)


@pytest.fixture(params=["plain", "tls"])
async def server(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Server]:
    certificate = make_certificate(tmp_path) if request.param == "tls" else None
    server = Server(None if certificate is None else certificate.client())
    listening = await asyncio.get_running_loop().create_server(
        server.http, "127.0.0.1", 0, ssl=None if certificate is None else certificate.server()
    )
    server.port = listening.sockets[0].getsockname()[1]
    yield server
    listening.close()
    await server.http.shutdown(1.0)
    await listening.wait_closed()
    for _ in range(3):  # transports close in a later turn of the loop
        await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def connected(server: Server) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", server.port, ssl=server.client, server_hostname="localhost" if server.client else None
    )
    async with asyncio.timeout(10):
        yield reader, writer
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


async def rest(reader: asyncio.StreamReader) -> bytes:
    """Return what comes until the connection ends, in whatever way."""
    got = b""
    with contextlib.suppress(OSError):
        while part := await reader.read(65536):
            got += part
    return got


async def forgotten(server: Server) -> None:
    """Wait until the server has no connection, whatever the client does: one that retires waits for it."""

    async def none() -> bool:
        return not server.http.connections

    await eventually_async(none, 10, "no connection is left")


async def answered(reader: asyncio.StreamReader) -> None:
    await reader.readuntil(b"\r\n\r\nplain")


@pytest.mark.parametrize("end", [b"", b"\r\n"], ids=["unfinished", "whole"])
@pytest.mark.parametrize("kept", [False, True], ids=["first", "kept"])
async def test_a_head_over_the_limit_is_431_and_the_end(server: Server, kept: bool, end: bytes) -> None:
    async with connected(server) as (reader, writer):
        if kept:
            writer.write(PLAIN)
            await answered(reader)
        writer.write(TOO_MUCH + end)
        assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 431 ")
        writer.write(HANDSHAKE)
        assert b"Connection: close" in await rest(reader)
        await forgotten(server)
    assert server.taken == 0


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        (b"Accept: text/html,application/xhtml+xml", b"text/html; charset=utf-8"),
        (b"accept:text/html", b"text/html; charset=utf-8"),
        (b"Accept: */*", b"application/problem+json"),
        (b"X-Accept: text/html", b"application/problem+json"),
    ],
)
@pytest.mark.parametrize("wrong", [TOO_MUCH.removeprefix(BEGUN), b"X: y\r\n" * 100 + b"\r\n"])
async def test_who_is_told_431_gets_the_page_that_was_asked_for(
    server: Server, accept: bytes, form: bytes, wrong: bytes
) -> None:
    """Whoever finds it out, we or aiohttp."""
    async with connected(server) as (reader, writer):
        writer.write(BEGUN + accept + b"\r\n" + wrong)
        got = await rest(reader)
    assert got.startswith(b"HTTP/1.1 431 Request Header Fields Too Large\r\n")
    assert b"\r\nContent-Type: " + form + b"\r\n" in got


async def test_a_pipelined_head_over_the_limit_is_the_end(server: Server) -> None:
    async with connected(server) as (reader, writer):
        writer.write(PLAIN + BEGUN)
        await answered(reader)
        writer.write(TOO_MUCH.removeprefix(BEGUN))
        assert b"200 OK" not in await rest(reader)
        await forgotten(server)


async def test_a_pipelined_head_over_the_limit_ends_the_connection_behind_the_answer_under_way(
    server: Server,
) -> None:
    async with connected(server) as (reader, writer):
        writer.write(PLAIN.replace(b"/ ", b"/slow ", 1))
        await server.begun.wait()
        (protocol,) = server.http.connections
        writer.write(TOO_MUCH)

        async def ends() -> bool:
            return protocol._close

        await eventually_async(ends, 10, "nothing more is heard")
        server.slow.set()
        await answered(reader)
        assert await rest(reader) == b""
        await forgotten(server)


@pytest.mark.parametrize("before", [b"", PLAIN], ids=["first", "pipelined"])
async def test_a_head_that_is_never_whole_is_the_end_in_time(server: Server, before: bytes) -> None:
    async with connected(server) as (reader, writer):
        writer.write(before + BEGUN[:5])
        if before:
            await answered(reader)
        began = asyncio.get_running_loop().time()
        writer.write(BEGUN[5:])
        assert b"200 OK" not in await rest(reader)
        assert asyncio.get_running_loop().time() - began < 5 * PATIENCE
        await forgotten(server)


async def begun(server: Server) -> HttpProtocol:
    """Wait until a part of a head is there on the one connection, and nothing else; return that."""
    (protocol,) = server.http.connections
    assert isinstance(protocol, HttpProtocol)
    found = protocol

    async def has_begun() -> bool:
        return found.head_has_begun and not found.owes_answer

    await eventually_async(has_begun, 5, "a head has begun")
    return found


@pytest.mark.parametrize("before", ["kept", "pipelined"])
async def test_a_request_that_has_begun_is_answered_though_the_idle_ones_are_shed(
    server: Server, before: str
) -> None:
    async with connected(server) as (reader, writer):
        writer.write(PLAIN + BEGUN[:5] if before == "pipelined" else PLAIN)
        await answered(reader)
        if before == "kept":
            writer.write(BEGUN[:5])
        protocol = await begun(server)
        assert (len(server.http.waiting.idle), len(server.http.waiting.newcomers)) == (0, 1)
        server.http.waiting.idle.shed(1)
        protocol._next_keepalive_close_time = 0.0
        protocol._process_keepalive()
        writer.write(PLAIN[5:])
        await answered(reader)
        assert (len(server.http.waiting.idle), len(server.http.waiting.newcomers)) == (1, 0)


async def test_a_connection_whose_next_request_is_there_is_never_idle(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered: list[int] = []
    enter = server.http.waiting.idle.enter

    def noted(connection: HttpProtocol, drop: Callable[[], None]) -> None:
        entered.append(len(connection._messages))
        enter(connection, drop)

    monkeypatch.setattr(server.http.waiting.idle, "enter", noted)
    async with connected(server) as (reader, writer):
        writer.write(3 * PLAIN)
        for _ in range(3):
            await answered(reader)
        await eventually_async(lambda: len(server.http.waiting.idle) == 1, 5, "all are answered")
    assert entered == [0]


async def test_of_too_many_whose_heads_are_not_whole_the_first_goes_though_it_has_been_answered_before(
    server: Server,
) -> None:
    server.http.waiting.newcomers = Bounded(1)
    async with connected(server) as (first, writer):
        writer.write(PLAIN)
        await answered(first)
        writer.write(BEGUN[:5])
        await begun(server)
        async with connected(server) as (second, other):
            other.write(PLAIN)
            await answered(second)
            other.write(BEGUN[:5])
            assert await rest(first) == b""


async def test_more_pipelined_requests_than_a_head_may_have_bytes_are_all_answered(server: Server) -> None:
    count = 4 * MOST // len(PLAIN)
    async with connected(server) as (reader, writer):
        writer.write(PLAIN * count)
        for _ in range(count):
            await answered(reader)


async def test_a_body_may_be_larger_than_a_head(server: Server) -> None:
    async with connected(server) as (reader, writer):
        for _ in range(3):
            writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (8 * MOST))
            for _ in range(8):
                writer.write(b"a" * MOST)
                await writer.drain()
            await answered(reader)


async def test_the_last_piece_of_a_body_may_be_larger_than_a_head(server: Server) -> None:
    async with connected(server) as (reader, writer):
        writer.write(b"POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (8 * MOST))
        await server.begun.wait()
        writer.write(b"a" * 8 * MOST)
        server.slow.set()
        await answered(reader)
        writer.write(PLAIN)
        await answered(reader)
