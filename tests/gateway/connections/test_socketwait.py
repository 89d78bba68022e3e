import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterator

import pytest

from bascule.gateway.connections.socketwait import readable, writable

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    with ours, theirs:
        yield ours, theirs


def fill(connection: socket.socket) -> None:
    while True:
        try:
            connection.send(bytes(65536))
        except BlockingIOError:
            return


async def test_a_socket_is_readable_when_there_is_something_and_nothing_is_read(pair: Pair) -> None:
    ours, theirs = pair
    waiting = asyncio.ensure_future(readable(ours))
    await asyncio.sleep(0)
    assert not waiting.done()
    theirs.send(b"abc")
    await asyncio.wait_for(waiting, 5)
    assert ours.recv(10) == b"abc"


async def test_a_socket_is_readable_when_it_has_ended(pair: Pair) -> None:
    ours, theirs = pair
    theirs.close()
    await asyncio.wait_for(readable(ours), 5)
    assert ours.recv(10) == b""


async def test_a_socket_is_writable_when_there_is_room(pair: Pair) -> None:
    ours, theirs = pair
    await asyncio.wait_for(writable(ours), 5)
    fill(ours)
    waiting = asyncio.ensure_future(writable(ours))
    await asyncio.sleep(0)
    assert not waiting.done()
    while not waiting.done():
        try:
            theirs.recv(65536)
        except BlockingIOError:
            await asyncio.wait_for(asyncio.shield(waiting), 5)
        await asyncio.sleep(0)
    assert ours.send(b"x") == 1


@pytest.mark.parametrize("wait", [readable, writable])
async def test_who_stops_waiting_leaves_the_socket_to_the_next(
    pair: Pair, wait: Callable[[socket.socket], Awaitable[None]]
) -> None:
    ours, theirs = pair
    fill(ours)
    for _ in range(2):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await wait(ours)
    theirs.close()
    await asyncio.wait_for(wait(ours), 5)
