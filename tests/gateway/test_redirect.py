"""The listener that redirects stops without turning away who is about to ask."""

from __future__ import annotations

import asyncio
import socket

from bascule.configuration.config import Config
from bascule.gateway.life import Life
from bascule.gateway.redirect import RedirectListener
from tests.support.waiting import eventually_async


async def test_a_head_that_has_begun_is_answered_before_the_listener_ends() -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    redirect = RedirectListener(Config(), listening, 443, Life())
    redirect.start()
    async with asyncio.timeout(5.0):
        reader, writer = await asyncio.open_connection(*listening.getsockname())
        writer.write(b"GET /lab HTTP/1.1\r\n")
        await eventually_async(lambda: len(redirect._http.waiting.arriving) == 1, 5, "its head has begun")

        closing = asyncio.create_task(redirect.close())
        ended, _ = await asyncio.wait([closing], timeout=0.1)  # that it does not end is what is tested
        assert not ended
        writer.write(b"Host: hub.example\r\n\r\n")

        said = await reader.read()
        await closing
        writer.close()
    assert said.startswith(b"HTTP/1.1 301 ")
    assert b"Location: https://hub.example/lab\r\n" in said
