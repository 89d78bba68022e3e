"""A listener that makes way for another answers whoever has begun to ask, and waits for nobody else."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from bascule.gateway.listening import arrivals
from bascule.gateway.listening.admin import AdminListener
from tests.gateway.listening.admin_support import REQUEST, now, patient
from tests.gateway.plain_support import Peer
from tests.support.waiting import eventually_async

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


POSTED = b"POST /body HTTP/1.1\r\nHost: admin\r\nContent-Length: 4\r\n\r\n"


@contextlib.asynccontextmanager
async def retiring(
    *, asked: bool = False, slow: float = 4 * arrivals.ARRIVES
) -> AsyncIterator[tuple[AdminListener, Peer]]:
    """Serve, and connect; whoever has asked has been answered once. One answer takes ``slow`` seconds."""

    async def body(request: web.Request) -> web.Response:
        return web.Response(text=await request.text())

    async def late(request: web.Request) -> web.Response:
        await asyncio.sleep(slow)
        return web.Response(text="late")

    app = web.Application()
    app.router.add_get("/now", now)
    app.router.add_get("/late", late)
    app.router.add_post("/body", body)
    listener = AdminListener(app, patient(60.0))
    listening = socket.create_server(("127.0.0.1", 0))
    await listener.start(listening)
    peer = Peer(*await asyncio.open_connection(*listening.getsockname()))
    async with asyncio.timeout(10):
        if asked:
            await peer.send(REQUEST)
            assert (await peer.message()).body == b"now"
        else:
            await eventually_async(lambda: len(listener.waiting.heads), 5, "it is accepted")
        yield listener, peer
        await peer.close()
        await listener.close()


@pytest.mark.parametrize(
    ("asked", "first", "rest", "body"),
    [
        (False, b"", REQUEST, b"now"),
        (False, REQUEST[:10], REQUEST[10:], b"now"),
        (True, REQUEST[:10], REQUEST[10:], b"now"),
        (True, b"\r\n" + REQUEST[:10], REQUEST[10:], b"now"),
        (False, POSTED + b"ab", b"cd", b"abcd"),
    ],
    ids=["connected", "half", "half of another", "half behind an empty line", "half a body"],
)
async def test_who_has_begun_to_ask_is_answered(asked: bool, first: bytes, rest: bytes, body: bytes) -> None:
    async with retiring(asked=asked) as (listener, peer):
        await peer.send(first)
        await asyncio.sleep(0.05)
        closed = asyncio.create_task(listener.retire())
        await asyncio.sleep(0.05)
        await peer.send(rest)
        assert (await peer.message()).body == body
        assert await peer.ended()
        await closed


async def test_who_waits_for_an_answer_gets_it_though_it_takes_longer_than_heads_may() -> None:
    async with retiring() as (listener, peer):
        await peer.send(b"GET /late HTTP/1.1\r\nHost: admin\r\n\r\n")
        await eventually_async(lambda: not listener.waiting.heads, 5, "it has asked")
        await listener.retire()
        assert (await peer.message()).body == b"late"
        assert await peer.ended()


async def test_no_answer_is_waited_for_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrivals, "_ANSWERED", 0.1)
    async with retiring(slow=60.0) as (listener, peer):
        await peer.send(b"GET /late HTTP/1.1\r\nHost: admin\r\n\r\n")
        await eventually_async(lambda: not listener.waiting.heads, 5, "it has asked")
        await listener.retire()
        assert await peer.ended()


async def test_who_asks_for_nothing_more_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrivals, "ARRIVES", 60.0)
    async with retiring(asked=True) as (listener, peer):
        await peer.send(b"\r\n")
        await asyncio.sleep(0.05)
        await listener.retire()
        assert await peer.ended()


async def test_who_goes_on_beginning_is_waited_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrivals, "ARRIVES", 0.1)
    async with retiring() as (listener, peer):
        await peer.send(REQUEST[:10])
        await listener.retire()
        assert await peer.ended()


async def test_a_stop_waits_for_nobody_who_has_only_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrivals, "ARRIVES", 60.0)
    async with retiring() as (listener, peer):
        closed = asyncio.create_task(listener.retire())
        await asyncio.sleep(0.05)
        await listener.close()
        assert await peer.ended()
        await closed
