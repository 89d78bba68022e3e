"""Who is heard out is bounded in number and in time."""

from __future__ import annotations

import asyncio
import socket
from contextlib import closing

from bascule.gateway.bounded import Bounded
from bascule.gateway.farewell import FAREWELL_SECONDS, farewell
from bascule.gateway.legs import PlainLeg


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
