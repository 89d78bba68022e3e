"""A wait is over after its time, but not because this process stood still meanwhile."""

from __future__ import annotations

import asyncio
import time

import pytest

from bascule.gateway.connections.patience import Patience


async def test_a_wait_is_over_after_its_time() -> None:
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        async with Patience(0.2):
            await asyncio.Event().wait()
    assert time.monotonic() - began >= 0.2


async def test_what_is_left_of_it_is_known() -> None:
    async with Patience(10.0) as patience:
        pass
    assert patience.left == 10.0
    with pytest.raises(TimeoutError):
        async with Patience(0.1) as patience:
            await asyncio.Event().wait()
    assert patience.left == 0


async def test_what_comes_in_time_is_no_failure_and_leaves_no_timer() -> None:
    async with Patience(0.05):
        await asyncio.sleep(0)
    await asyncio.sleep(0.1)


async def test_without_a_limit_nothing_is_cut() -> None:
    async with Patience(0):
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("times", [1, 4])
async def test_what_came_while_we_stood_still_is_heard(times: int) -> None:
    loop = asyncio.get_running_loop()
    came: asyncio.Future[None] = loop.create_future()

    def stand_still(left: int) -> None:
        time.sleep(0.2)
        # As of a connection that others have made meanwhile: the loop looks at that after its timers.
        loop.call_soon(stand_still, left - 1) if left > 1 else loop.call_later(0, came.set_result, None)

    loop.call_soon(stand_still, times)
    async with Patience(0.2):
        await came


async def test_what_came_while_we_stood_still_in_the_last_part_is_heard() -> None:
    loop = asyncio.get_running_loop()
    came: asyncio.Future[None] = loop.create_future()

    def stand_still() -> None:
        time.sleep(0.3)
        loop.call_later(0, came.set_result, None)

    loop.call_later(0.19, stand_still)
    async with Patience(0.2):
        await came


async def test_while_it_is_stopped_no_time_passes() -> None:
    for limit in (0.1, 0):
        async with Patience(limit) as patience:
            with patience.stopped():
                await asyncio.sleep(0.3)


async def test_who_is_kept_waiting_often_has_no_more_time_of_its_own() -> None:
    async def often() -> None:
        async with Patience(0.2) as patience:
            for _ in range(30):
                with patience.stopped():
                    await asyncio.sleep(0)
                await asyncio.sleep(0.01)

    with pytest.raises(TimeoutError):
        await often()


async def test_one_that_begins_anew_has_its_whole_time() -> None:
    async with Patience(0.2) as patience:
        await asyncio.sleep(0.15)
        patience.begin_anew()
        await asyncio.sleep(0.15)


async def test_a_failure_within_the_block_is_passed_on() -> None:
    with pytest.raises(ConnectionResetError):
        async with Patience(1.0):
            raise ConnectionResetError


async def test_one_that_is_cancelled_is_cancelled() -> None:
    async def wait() -> None:
        async with Patience(10.0):
            await asyncio.Event().wait()

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
