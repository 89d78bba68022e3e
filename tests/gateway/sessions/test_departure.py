"""Who waits for an upstream is told when its browser leaves, or we do; and who else ends it is heard, too."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

import pytest

from bascule import tasks
from bascule.gateway.sessions.departure import Departure, departures

if TYPE_CHECKING:
    from bascule.gateway.connections.legs import Leg


class Browser:
    """A leg, as far as it is looked at."""

    def __init__(self) -> None:
        self.gone = False

    def is_gone(self) -> bool:
        return self.gone


class Waiting:
    """A task that waits for an upstream that never answers, and then goes on."""

    def __init__(self) -> None:
        self.browser = Browser()
        self.went_on = False

    async def run(self) -> None:
        self.departure = Departure(cast("Leg", self.browser), departures())
        with self.departure:
            await asyncio.Event().wait()
        self.went_on = True
        await asyncio.sleep(0)


async def started() -> tuple[Waiting, asyncio.Task[None]]:
    waiting = Waiting()
    task = tasks.spawn(waiting.run(), "waiting")
    await asyncio.sleep(0)
    return waiting, task


@pytest.mark.parametrize("who", ["browser", "we"])
async def test_the_task_goes_on_behind_the_wait(who: str) -> None:
    waiting, task = await started()
    if who == "browser":
        waiting.browser.gone = True
        waiting.departure.look()
    else:
        waiting.departure.leave()
    await task
    assert waiting.went_on
    assert (waiting.departure.by_browser, waiting.departure.by_us) == (who == "browser", who == "we")
    assert not task.cancelling()


async def test_a_browser_that_stays_is_waited_for() -> None:
    waiting, task = await started()
    waiting.departure.look()
    await asyncio.sleep(0)
    assert not waiting.went_on
    await tasks.end(task)


@pytest.mark.parametrize("first", [True, False])
async def test_whoever_ends_the_task_as_the_browser_leaves_is_heard(first: bool) -> None:
    waiting, task = await started()
    waiting.browser.gone = True
    if first:
        task.cancel()
    waiting.departure.look()
    if not first:
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not waiting.went_on
