"""Upgrades on connections that aiohttp serves: on any idle one, and on none that is not."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import socket
from typing import TYPE_CHECKING, Any

import pytest
import uvloop
from aiohttp import web

from bascule.configuration.config import Config, Limits
from bascule.gateway.life import Life
from bascule.gateway.listening.http import HttpServer
from bascule.protocol.http1 import BadHead
from tests.support.certificates import make_certificate
from tests.support.tlspeer import secured
from tests.support.waiting import eventually_async

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from bascule.gateway.listening.upgrade import UpgradeRequest

HANDSHAKE = (
    b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: " + base64.b64encode(b"k" * 16) + b"\r\n\r\n"
)
PLAIN = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
SLOW = PLAIN.replace(b"/ ", b"/slow ", 1)
MOST_IDLE = 3


class Server:
    """A gateway's HTTP side that notes which upgrades reached it."""

    http: HttpServer

    def __init__(self) -> None:
        self.taken: list[tuple[bytes, bytes]] = []
        self.port = 0
        self.slow = asyncio.Event()

    async def on_upgrade(self, request: UpgradeRequest) -> None:
        assert not isinstance(request.head, BadHead)
        self.taken.append((request.head.target, request.early))
        await request.leg.write(b"taken")
        request.leg.close()


@pytest.fixture
async def server(request: pytest.FixtureRequest) -> AsyncIterator[Server]:
    server = Server()

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        if request.path == "/slow":
            await server.slow.wait()
        if request.path == "/last":
            asyncio.get_running_loop().call_soon(request.protocol.data_received, HANDSHAKE)
        return web.Response(text="plain")

    handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]] = answer
    limits = Limits(max_idle_connections=MOST_IDLE)
    server.http = http = HttpServer(handler, Config(limits=limits), server.on_upgrade, Life())
    listening = await asyncio.get_running_loop().create_server(http, "127.0.0.1", 0)
    server.port = listening.sockets[0].getsockname()[1]
    yield server
    listening.close()
    await http.shutdown(1.0)
    await listening.wait_closed()
    for _ in range(3):  # transports close in a later turn of the loop
        await asyncio.sleep(0)


async def talk(server: Server, *parts: bytes, until: bytes) -> bytes:
    """Send the parts, each after something was answered to the one before; return all that came."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    got = b""
    async with asyncio.timeout(5):
        for number, part in enumerate(parts):
            writer.write(part)
            if number + 1 < len(parts):
                got += await reader.read(65536)
        while until not in got:
            more: Any = await reader.read(65536)
            if not more:
                break
            got += more
    await close(writer)
    return got


async def close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


async def test_an_upgrade_on_a_kept_connection_lets_sessions_work(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[int] = []
    monkeypatch.setattr(os, "sched_yield", lambda: given.append(len(server.taken)))
    await talk(server, PLAIN, HANDSHAKE, until=b"taken")
    assert len(given) == 1


@pytest.mark.parametrize(
    "factory", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"]
)
def test_a_body_that_is_broken_before_its_request_is_looked_at_ends(
    factory: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    """A loop may read on before aiohttp's task has begun with what the first read had."""
    bodies: list[BaseException | bytes] = []

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        try:
            bodies.append(await request.read())
        except web.RequestPayloadError as error:
            bodies.append(error)
        return web.Response(text="plain")

    async def talk() -> bytes:
        http = HttpServer(answer, Config(), Server().on_upgrade, Life())
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.setblocking(False)
        theirs.send(b"zz\r\n")
        head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(10):
            transport, _ = await loop.connect_accepted_socket(lambda: http(head), ours)
            said = await loop.sock_recv(theirs, 1000)
        transport.abort()
        await http.shutdown(1.0)
        theirs.close()
        return said

    with asyncio.Runner(loop_factory=factory) as runner:
        assert runner.run(talk()).startswith(b"HTTP/1.1 ")
    assert isinstance(bodies[0], web.RequestPayloadError)


async def test_the_first_request_may_be_an_upgrade(server: Server) -> None:
    assert await talk(server, HANDSHAKE + b"early", until=b"taken") == b"taken"
    assert server.taken == [(b"/ws", b"early")]


async def test_an_upgrade_may_follow_an_answered_request(server: Server) -> None:
    got = await talk(server, PLAIN, HANDSHAKE, until=b"taken")
    assert got.endswith(b"taken")
    assert b"plain" in got


async def test_an_upgrade_may_come_in_pieces(server: Server) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    async with asyncio.timeout(5):
        for byte in HANDSHAKE:
            writer.write(bytes((byte,)))
            await writer.drain()
        assert await reader.read(100) == b"taken"
    await close(writer)


async def test_an_empty_line_in_front_of_an_upgrade_may_come_in_pieces(server: Server) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    async with asyncio.timeout(5):
        for part in (b"\r", b"\n", HANDSHAKE):
            writer.write(part)
            for _ in range(3):  # each part is received in a turn of its own
                await asyncio.sleep(0)
        assert await reader.read(100) == b"taken"
    await close(writer)


async def test_a_handshake_inside_a_body_that_was_answered_early_is_no_handshake(server: Server) -> None:
    post = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(HANDSHAKE)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    async with asyncio.timeout(5):
        writer.write(post)
        await reader.readuntil(b"plain")
        writer.write(HANDSHAKE + PLAIN)
        await reader.readuntil(b"plain")
    await close(writer)
    assert server.taken == []


async def test_a_pipelined_upgrade_is_not_taken(server: Server) -> None:
    await talk(server, PLAIN + HANDSHAKE, until=b"taken")
    assert server.taken == []


async def test_a_pipelined_head_may_end_after_the_answer_to_the_request_before(server: Server) -> None:
    for cut in range(1, len(PLAIN)):
        got = await talk(server, PLAIN + PLAIN[:cut], PLAIN[cut:], until=b"plainHTTP/1.1 200")
        assert got.count(b"HTTP/1.1 200") == 2, cut


async def test_a_handshake_in_a_field_of_a_pipelined_head_is_no_handshake(server: Server) -> None:
    post = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody"
    for first in (PLAIN, post):
        begun = PLAIN.removesuffix(b"\r\n") + b"X-Note: "
        await talk(server, first + begun, HANDSHAKE, until=b"taken")
    assert [target for target, _ in server.taken] == [
        b"/",
        b"/",
    ]  # it has the fields that follow, and not its path


async def test_an_upgrade_may_follow_a_request_with_a_body(server: Server) -> None:
    post = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n"
    got = await talk(server, post + b"body", HANDSHAKE, until=b"taken")
    assert got.endswith(b"taken")


@pytest.mark.parametrize(
    "before",
    [
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody\r\n",
        PLAIN + PLAIN,
        PLAIN + PLAIN + b"\r\n",
    ],
    ids=["line end behind a body", "pipelined", "both"],
)
async def test_an_upgrade_may_follow_when_all_is_answered_whatever_came_before(
    server: Server, before: bytes
) -> None:
    count = before.count(b"HTTP/1.1")
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    async with asyncio.timeout(5):
        writer.write(before)
        for _ in range(count):
            await reader.readuntil(b"\r\n\r\nplain")
        writer.write(HANDSHAKE)
        assert await reader.read(100) == b"taken"
    await close(writer)


@pytest.mark.parametrize(
    "request_",
    [
        PLAIN.replace(b"Host", b"Connection: close\r\nHost"),
        PLAIN.replace(b"HTTP/1.1", b"HTTP/1.0"),
        PLAIN,
        PLAIN + PLAIN,
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    ],
    ids=["close", "1.0", "kept", "two", "length", "chunked"],
)
async def test_a_request_is_answered_whatever_follows_it_in_its_packet(
    server: Server, request_: bytes
) -> None:
    got = await talk(server, request_ + b"no request\r\n\r\n", until=b"never")
    assert got.partition(b"\r\n")[0].endswith(b" 200 OK")
    assert got.count(b" 200 OK\r\n") == request_.count(b"HTTP/1.")


@pytest.mark.parametrize(
    "last",
    [
        b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00\r\n\r\n",
        PLAIN[:-2] + b"X: " + b"x" * 40_000 + b"\r\n\r\n",
        PLAIN[:-2] + b"Content-Type: a/b\r\nContent-Type: c/d\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: " + b"9" * 30 + b"\r\n\r\n",
        b"\n\r\n\r\n",
    ],
    ids=["TLS", "large", "contradicts itself", "huge", "nothing"],
)
async def test_requests_in_front_of_one_that_is_refused_are_all_answered(server: Server, last: bytes) -> None:
    got = await talk(server, PLAIN * 3 + last, until=b"never")
    assert got.count(b" 200 OK\r\n") == 3


@pytest.mark.parametrize("before", [b"", PLAIN], ids=["first", "pipelined"])
@pytest.mark.parametrize("bare", [PLAIN.replace(b"\r\n", b"\n"), b"GET / HTTP/1.1\n", PLAIN[:-2] + b"X: b\n"])
async def test_a_line_feed_alone_is_no_end_of_a_line_and_nobody_waits_for_more(
    server: Server, bare: bytes, before: bytes
) -> None:
    """It was silent until the time for a head was over."""
    got = await talk(server, before + bare, until=b"never")
    assert got.count(b" 200 OK\r\n") == bool(before)
    assert got.count(b"HTTP/1.1 400 Bad Request\r\n") == 1


@pytest.mark.parametrize("nothing", [b"\n\r\n\r\n", b"\r\r\n\r\n"])
async def test_line_ends_of_which_aiohttp_makes_no_request_are_refused(
    server: Server, nothing: bytes
) -> None:
    """They were passed over, and the connection was bounded neither in number nor by the time for a head."""
    got = await talk(server, nothing, until=b"never")
    assert got.startswith(b"HTTP/1.1 400 Bad Request\r\n")


async def test_more_requests_than_aiohttp_queues_are_answered_and_an_upgrade_may_follow(
    server: Server,
) -> None:
    post = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n" + b"a" * 100_000
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    async with asyncio.timeout(10):
        for _ in range(3):
            writer.write((PLAIN * 50 + post) * 2)
            for _ in range(102):
                await reader.readuntil(b"\r\n\r\nplain")
        writer.write(HANDSHAKE)
        assert await reader.read(100) == b"taken"
    await close(writer)


async def test_a_request_without_an_upgrade_stays_with_aiohttp(server: Server) -> None:
    assert b"plain" in await talk(server, PLAIN.replace(b"Host: a", b"Host: a\r\nX: upgrade"), until=b"plain")
    assert server.taken == []


async def test_of_too_many_idle_connections_the_longest_idle_is_closed_and_none_at_work(
    server: Server,
) -> None:
    async with asyncio.timeout(5):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(SLOW)
        idle = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(MOST_IDLE + 1)]
        for theirs, ours in idle:
            ours.write(PLAIN)
            await theirs.readuntil(b"\r\n\r\nplain")
        assert await idle[0][0].read() == b""
        for theirs, ours in idle[1:]:
            ours.write(PLAIN)
            await theirs.readuntil(b"\r\n\r\nplain")
        server.slow.set()
        await reader.readuntil(b"\r\n\r\nplain")
        for _, ours in [(reader, writer), *idle]:
            await close(ours)


@contextlib.asynccontextmanager
async def another_request_read(server: Server, request: bytes = PLAIN) -> AsyncIterator[None]:
    """Have a connection whose second request has just been read; that is answered in the end."""
    async with asyncio.timeout(5):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(PLAIN)
        await reader.readuntil(b"\r\n\r\nplain")
        (protocol,) = server.http.connections
        protocol.data_received(request)
        yield
        await reader.readuntil(b"\r\n\r\nplain")
        await close(writer)


async def test_a_connection_whose_next_request_has_been_read_is_not_idle(server: Server) -> None:
    async with another_request_read(server):
        server.http.waiting.idle.shed(1)  # in the same turn of the loop: descriptors have run out


async def test_a_request_under_way_is_not_dropped_for_the_head_that_has_begun_behind_it(
    server: Server,
) -> None:
    async with asyncio.timeout(5):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(PLAIN + SLOW + PLAIN[:10])
        await reader.readuntil(b"\r\n\r\nplain")
        server.http.waiting.newcomers.shed(1)
        server.slow.set()
        await reader.readuntil(b"\r\n\r\nplain")
        writer.write(PLAIN[10:])
        await reader.readuntil(b"\r\n\r\nplain")
        await close(writer)


async def test_no_handshake_is_taken_while_the_request_before_is_about_to_be_answered(server: Server) -> None:
    async with another_request_read(server, SLOW):
        (protocol,) = server.http.connections
        # In the very next turn of the loop: aiohttp has taken the request. With Python 3.11 it has not begun
        # with it; with a later one, whose tasks begin at once, it waits for what makes it slow.
        loop = asyncio.get_running_loop()
        loop.call_soon(protocol.data_received, HANDSHAKE)
        loop.call_soon(server.slow.set)
    assert server.taken == []


async def test_no_handshake_is_taken_behind_an_answer_that_ends_the_connection(server: Server) -> None:
    got = await talk(server, b"GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", until=b"taken")
    assert got.endswith(b"plain")
    assert server.taken == []


async def test_a_head_that_has_begun_is_waited_for_and_a_silent_connection_is_not(server: Server) -> None:
    _, silent = await asyncio.open_connection("127.0.0.1", server.port)
    await eventually_async(lambda: len(server.http.waiting.newcomers) == 1, 5, "it is a newcomer")
    async with asyncio.timeout(0.5):
        await server.http.wait_for_heads()
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(HANDSHAKE[:30])
    await eventually_async(lambda: len(server.http.waiting.arriving) == 1, 5, "its head has begun")

    waits = asyncio.create_task(server.http.wait_for_heads())
    writer.write(HANDSHAKE[30:])
    await waits

    assert len(server.taken) == 1
    async with asyncio.timeout(5):
        assert await reader.read(100) == b"taken"
    await close(writer)
    await close(silent)


async def test_a_head_that_does_not_end_is_waited_for_a_second(server: Server) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(HANDSHAKE[:30])
    await eventually_async(lambda: len(server.http.waiting.arriving) == 1, 5, "its head has begun")
    async with asyncio.timeout(5):
        await server.http.wait_for_heads()
    assert len(server.http.waiting.heads) == 1, "it has its time"
    await close(writer)


async def test_answers_that_a_client_has_left_unread_count_for_the_session_behind_them(
    tmp_path: Path,
) -> None:
    """Who takes a connection with TLS has its unsent bytes; it must not add to them as if there were none."""
    ends: list[socket.socket] = []

    async def answer(_: web.BaseRequest) -> web.StreamResponse:
        return web.Response(body=bytes(200_000))

    async def on_upgrade(request: UpgradeRequest) -> None:
        ends.append(request.leg.let_go())

    loop = asyncio.get_running_loop()
    http = HttpServer(answer, Config(), on_upgrade, Life())
    certificate = make_certificate(tmp_path)
    async with secured(certificate, http(), receive=4096, send=4608) as (transport, peer, theirs):
        await loop.sock_sendall(theirs, peer.say(PLAIN))
        await eventually_async(lambda: transport.get_write_buffer_size() > 150_000, 5, "it is answered")
        unread = transport.get_write_buffer_size()
        await loop.sock_sendall(theirs, peer.say(HANDSHAKE))
        await eventually_async(lambda: bool(ends), 5, "the upgrade is taken")
        (end,) = ends
        with end:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.5):
                    await loop.sock_sendall(end, bytes(4_000_000))
            assert transport.get_write_buffer_size() <= unread
            got = 0
            async with asyncio.timeout(5):
                while got < unread:  # it is read after all, and then more is taken
                    peer.take(await loop.sock_recv(theirs, 1 << 16))
                    got += len(peer.hear()[0])
                await loop.sock_sendall(end, bytes(1000))
        async with asyncio.timeout(5):
            while not transport.is_closing():  # the pump has ended
                await loop.sock_recv(theirs, 1 << 16)
    await http.shutdown(1.0)
