"""Connections of the admin listener that ask for nothing are bounded, in number and in time."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
from aiohttp import web

from bascule.gateway import admin_listener as module
from bascule.gateway.admin_listener import AdminListener

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    Open = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]

MOST = 3
FIRST_HEAD = 0.3
REQUEST = b"GET /now HTTP/1.1\r\nHost: admin\r\n\r\n"
ENDLESS = b"GET /stream HTTP/1.1\r\nHost: admin\r\n\r\n"


async def _now(_: web.Request) -> web.Response:
    return web.Response(text="now")


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
    app.router.add_get("/now", _now)
    app.router.add_get("/stream", _stream)
    listener = AdminListener(app, getattr(request, "param", 60.0))
    listening = socket.create_server(("127.0.0.1", 0))
    await listener.start(listening)
    async with contextlib.AsyncExitStack() as stack:

        async def opened() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
            reader, writer = await asyncio.open_connection(*listening.getsockname())
            stack.callback(writer.close)
            return reader, writer

        yield opened
    await listener.close()


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
