"""Whether a peer takes what was written to it can be told on every kind of connection."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
import uvloop

from bascule.gateway.connections.taking import taken
from tests.support.farends import tcp_pair, unix_pair
from tests.support.waiting import eventually_async, settled

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

MORE_THAN_THE_KERNEL_KEEPS = bytes(8 << 20)


@pytest.mark.parametrize(
    "factory", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"]
)
@pytest.mark.parametrize("pair", [lambda: tcp_pair(receive=4096, send=4608), unix_pair], ids=["TCP", "Unix"])
def test_the_number_changes_when_the_peer_takes_bytes_and_there_is_none_after_the_end(
    factory: Callable[[], asyncio.AbstractEventLoop],
    pair: Callable[[], tuple[socket.socket, socket.socket]],
) -> None:
    async def tell() -> None:
        ours, peer = pair()
        loop = asyncio.get_running_loop()
        transport, _ = await loop.connect_accepted_socket(asyncio.Protocol, ours)
        with peer:
            transport.write(MORE_THAN_THE_KERNEL_KEEPS)
            full = await settled(lambda: taken(transport), 10)
            assert await settled(lambda: taken(transport), 10) == full
            await loop.sock_recv(peer, 1 << 16)
            await eventually_async(lambda: taken(transport) != full, 5, "the number changes")
            transport.abort()
            await eventually_async(lambda: taken(transport) is None, 5, "the connection has ended")

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(tell())
