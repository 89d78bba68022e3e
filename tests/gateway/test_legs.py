"""Whether a browser has left is seen without reading what it said; who is heard out is bounded in number."""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import closing

import pytest

from bascule.gateway.bounded import Bounded
from bascule.gateway.legs import FAREWELL_SECONDS, PlainLeg, farewell
from tests.support.waiting import eventually


@pytest.mark.parametrize("said", [b"", b"early"])
@pytest.mark.parametrize("how", ["closed", "half closed", "reset"])
async def test_a_browser_that_has_left_is_gone(said: bytes, how: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        browser = socket.create_connection(listener.getsockname())
        connection, _ = listener.accept()
    connection.setblocking(False)
    leg = PlainLeg(asyncio.get_running_loop(), connection)
    with closing(browser), closing(leg):
        browser.sendall(said)
        assert not leg.is_gone()
        if how == "half closed":
            browser.shutdown(socket.SHUT_WR)
        else:
            if how == "reset":
                browser.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            browser.close()
        eventually(leg.is_gone, 2, "the browser has left")
        if how != "reset":
            assert await leg.read() == said


async def test_beyond_the_bound_who_has_been_heard_out_longest_goes_at_once() -> None:
    loop = asyncio.get_running_loop()
    pairs = [socket.socketpair() for _ in range(3)]
    leaving = Bounded(2)
    legs = []
    for _, ours in pairs:
        ours.setblocking(False)
        legs.append(PlainLeg(loop, ours))
    tasks = []
    for leg in legs:
        tasks.append(asyncio.create_task(farewell(leg, lambda _: False, leaving)))
        await asyncio.sleep(0)  # it has begun to listen

    await asyncio.wait_for(tasks[0], FAREWELL_SECONDS / 4)  # though its peer says nothing
    assert len(leaving) == 2
    assert not any(task.done() for task in tasks[1:])
    for peer, _ in pairs:
        peer.close()
    await asyncio.gather(*tasks)
    assert len(leaving) == 0
    for leg in legs:
        leg.close()


async def test_a_time_that_is_up_and_a_bound_that_is_reached_are_one_end() -> None:
    leaving = Bounded(1)
    peer, ours = socket.socketpair()
    ours.setblocking(False)
    with closing(peer), closing(PlainLeg(asyncio.get_running_loop(), ours)) as leg:
        task = asyncio.create_task(farewell(leg, lambda _: False, leaving))
        await asyncio.sleep(0)
        leaving.shed(1)
        leaving.shed(1)
        await asyncio.wait_for(task, FAREWELL_SECONDS / 4)
