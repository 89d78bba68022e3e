"""Connections of the admin listener that ask for nothing are bounded in number and in time."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
from aiohttp import web

from bascule.configuration.config import Config, Sockets
from bascule.gateway.connections.bounded import Bounded
from bascule.gateway.connections.farewell import FAREWELL_SECONDS
from bascule.gateway.listening import admin as module
from bascule.gateway.listening.admin import AdminListener
from tests.gateway.listening.admin_support import REQUEST, now, patient
from tests.support.waiting import eventually_async

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    Open = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]

MOST = 3
FIRST_HEAD = 0.3
MORE_THAN_THE_KERNEL_KEEPS = 16 << 20
ENDLESS = b"GET /stream HTTP/1.1\r\nHost: admin\r\n\r\n"


async def _much(_: web.Request) -> web.Response:
    return web.Response(body=bytes(MORE_THAN_THE_KERNEL_KEEPS))


async def _stream(request: web.Request) -> web.StreamResponse:
    answer = web.StreamResponse()
    await answer.prepare(request)
    while True:
        await answer.write(b"on")
        await asyncio.sleep(0.02)


@pytest_asyncio.fixture
async def connect(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> AsyncIterator[Open]:
    """Run a listener, and return what connects to it."""
    monkeypatch.setattr(module, "MOST_IDLE", MOST)
    app = web.Application()
    app.router.add_get("/now", now)
    app.router.add_get("/stream", _stream)
    app.router.add_get("/much", _much)
    listener = AdminListener(app, patient(getattr(request, "param", 60.0)))
    listening = socket.create_server(("127.0.0.1", 0))
    await listener.start(listening)
    async with contextlib.AsyncExitStack() as stack:

        async def opened() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
            reader, writer = await asyncio.open_connection(*listening.getsockname())
            stack.callback(writer.close)
            return reader, writer

        yield opened
    await listener.close()


async def test_the_kernel_holds_as_many_connections_as_the_configuration_says() -> None:
    backlog = 7
    listener = AdminListener(web.Application(), Config(sockets=Sockets(backlog=backlog)))
    with socket.create_server(("127.0.0.1", 0), backlog=backlog) as listening:
        await listener.start(listening)
        # Of a socket that listens `tcpi_sacked` is its backlog.
        (found,) = struct.unpack_from("28xI", listening.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 32))
        await listener.close()
    assert found == backlog


async def _is_cut(reader: asyncio.StreamReader) -> bool:
    """Tell whether the connection ends, whatever came before."""
    try:
        async with asyncio.timeout(5):
            await reader.read()
    except TimeoutError:
        return False
    except ConnectionError:
        pass
    return True


async def _asked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    writer.write(REQUEST)
    async with asyncio.timeout(5):
        return await reader.readuntil(b"now")


async def test_whoever_has_said_nothing_longest_goes(connect: Open) -> None:
    silent, _ = await connect()
    half, writer = await connect()
    writer.write(REQUEST[:10])
    kept = await connect()
    assert await _asked(*kept)  # it is the last to be idle now
    newest = [await connect() for _ in range(MOST - 1)]
    assert await _is_cut(silent)
    assert await _is_cut(half)
    for each in (kept, *newest):
        assert await _asked(*each)


async def test_whoever_takes_nothing_of_its_answer_goes_all_the_same(
    connect: Open, admin_connections: list[module._Connection]
) -> None:
    _, first = await connect()
    with socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.connect(first.get_extra_info("peername"))
        deaf.send(b"GET /much HTTP/1.1\r\nHost: admin\r\n\r\n")
        await asyncio.get_running_loop().run_in_executor(None, deaf.recv, 1)  # it is answered, and idle
        its = admin_connections[1]
        for _ in range(MOST):
            await connect()
        await eventually_async(lambda: its.transport is None, 3 * FAREWELL_SECONDS, "it is cut")


async def test_a_connection_whose_next_request_is_there_is_not_idle(
    connect: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered: list[bool] = []
    enter = Bounded.enter

    def noted(idle: Bounded, connection: module._Connection, drop: Callable[[], None]) -> None:
        entered.append(connection.has_more)
        enter(idle, connection, drop)

    reader, writer = await connect()
    await _asked(reader, writer)
    monkeypatch.setattr(Bounded, "enter", noted)
    writer.write(3 * REQUEST)
    for _ in range(3):
        await reader.readuntil(b"now")
    await eventually_async(lambda: entered, 5, "all are answered")
    assert entered == [False]


async def test_a_connection_whose_next_request_has_been_read_is_not_idle(
    connect: Open, admin_connections: list[module._Connection]
) -> None:
    reader, writer = await connect()
    await _asked(reader, writer)
    (its,) = admin_connections
    its.data_received(REQUEST)
    its._waiting.idle.shed(1)  # in the same turn of the loop: others have come
    async with asyncio.timeout(5):
        assert await reader.readuntil(b"now")


async def test_whoever_was_answered_before_the_application_was_asked_is_idle(
    connect: Open, admin_connections: list[module._Connection]
) -> None:
    reader, writer = await connect()
    writer.write(REQUEST.replace(b"Host", b"Expect: nothing\r\nHost"))
    async with asyncio.timeout(5):
        assert await reader.readuntil(b"\r\n\r\n")
    (its,) = admin_connections
    its._waiting.idle.shed(1)
    assert await _is_cut(reader)


async def test_a_request_under_way_is_not_counted(connect: Open) -> None:
    reader, writer = await connect()
    writer.write(ENDLESS)
    await reader.readuntil(b"on")
    others = [await connect() for _ in range(MOST + 1)]
    assert await _is_cut(others[0][0])
    assert await reader.readuntil(b"on")


@pytest.mark.parametrize("connect", [FIRST_HEAD], indirect=True)
@pytest.mark.parametrize("said", [b"", REQUEST[:10]], ids=["nothing", "half"])
async def test_a_first_head_has_its_time(connect: Open, said: bytes) -> None:
    reader, writer = await connect()
    writer.write(said)
    assert await _is_cut(reader)


@pytest.mark.parametrize("connect", [FIRST_HEAD], indirect=True)
async def test_a_request_under_way_may_take_longer_than_a_head(connect: Open) -> None:
    reader, writer = await connect()
    writer.write(ENDLESS)
    loop = asyncio.get_running_loop()
    until = loop.time() + 3 * FIRST_HEAD
    while loop.time() < until:
        assert await reader.readuntil(b"on")


async def test_whoever_closes_it_again_waits_for_the_answer_under_way_too() -> None:
    begun, goes_on = asyncio.Event(), asyncio.Event()
    said: list[str] = []

    async def answer(_: web.Request) -> web.Response:
        begun.set()
        await goes_on.wait()
        said.append("answered")
        return web.Response(text="now")

    async def close() -> None:
        await listener.close()
        said.append("closed")

    app = web.Application()
    app.router.add_get("/now", answer)
    listener = AdminListener(app, patient(60.0))
    listening = socket.create_server(("127.0.0.1", 0))
    await listener.start(listening)
    async with asyncio.timeout(5):
        reader, writer = await asyncio.open_connection(*listening.getsockname())
        writer.write(REQUEST)
        await begun.wait()
        async with asyncio.TaskGroup() as closing:
            for _ in range(2):  # as a gateway does that retires, and when it ends
                closing.create_task(close())
            await asyncio.sleep(0)  # both have begun
            goes_on.set()
        assert said == ["answered", "closed", "closed"]
        assert await reader.readuntil(b"now")
        writer.close()


@pytest.mark.parametrize("connect", [FIRST_HEAD], indirect=True)
async def test_a_later_head_has_its_time(connect: Open) -> None:
    reader, writer = await connect()
    await _asked(reader, writer)
    writer.write(REQUEST[:10])
    assert await _is_cut(reader)


async def test_who_leaves_a_stream_is_let_go(connect: Open) -> None:
    reader, writer = await connect()
    writer.write(ENDLESS)
    await asyncio.wait_for(reader.readuntil(b"on"), 5)
    writer.write_eof()
    assert await _is_cut(reader)
