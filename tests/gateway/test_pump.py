"""What a forwarder said before it ended reaches a slow peer, and nothing is left behind."""

from __future__ import annotations

import asyncio
import gc
import select
import socket
import struct

import pytest
import uvloop

from bascule.gateway.pump import pump
from bascule.gateway.pumpedleg import PumpedLeg
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
        transport, _ = await loop.connect_accepted_socket(PumpedLeg, ours)
        pump(transport, end, b"", has_ended=False)
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


@pytest.mark.parametrize("first", ["peer", "forwarder"])
def test_a_connection_that_was_reset_leaves_nothing_to_the_cycle_collector(first: str) -> None:
    async def leave() -> None:
        ours, peer = tcp_pair()
        end, forwarder = socket.socketpair()
        end.setblocking(False)
        transport, _ = await asyncio.get_running_loop().connect_accepted_socket(PumpedLeg, ours)
        pump(transport, end, b"", has_ended=False)
        held = type(transport.get_protocol())
        del transport
        if first == "forwarder":
            forwarder.close()
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()
        await eventually_async(lambda: end.fileno() < 0, 5, "the pump has ended")
        forwarder.close()
        await eventually_async(
            lambda: not any(type(one) is held for one in gc.get_objects()), 5, "it is gone"
        )

    gc.disable()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(leave())
    finally:
        gc.enable()
