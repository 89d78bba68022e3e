"""What a forwarder said before it ended its connection reaches a slow peer behind TLS."""

from __future__ import annotations

import asyncio
import select
import socket

import pytest
import uvloop

from bascule.gateway.pump import pump
from tests.support.relaying import tcp_pair
from tests.support.waiting import eventually_async

SAID = b"x" * 180_000
"""More than the peer's kernel takes at once; less than the forwarder's end does."""


def is_readable(end: socket.socket) -> bool:
    return bool(select.select([end], [], [], 0)[0])


@pytest.mark.parametrize("in_time", [False, True])
def test_a_slow_peer_that_speaks_as_the_forwarder_ends_still_gets_all(in_time: bool) -> None:
    """What it says comes too late, or lies unread in the connection that is ended."""

    async def take() -> bytes:
        loop = asyncio.get_running_loop()
        ours, peer = tcp_pair(receive=4096, send=4608)
        end, forwarder = socket.socketpair()
        end.setblocking(False)
        reader, writer = await asyncio.open_connection(sock=ours)
        pump(reader, writer, end)
        got = b""
        with peer:
            with forwarder:
                forwarder.sendall(SAID)
                if in_time:
                    await loop.sock_sendall(peer, b"hello")
                    await eventually_async(lambda: is_readable(forwarder), 5, "it is there")
            if not in_time:
                await loop.sock_sendall(peer, b"hello")
            async with asyncio.timeout(10):
                while data := await loop.sock_recv(peer, 4096):
                    got += data
        await eventually_async(lambda: end.fileno() < 0, 5, "nothing is left open")
        return got

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert len(runner.run(take())) == len(SAID)
