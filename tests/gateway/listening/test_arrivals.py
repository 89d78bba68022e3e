import asyncio

import pytest

from bascule.gateway.listening import arrivals
from bascule.gateway.listening.arrivals import wait_for_arrivals


async def test_the_wait_ends_when_nothing_is_on_its_way_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrivals, "ARRIVES", 60.0)
    left = [1, 2, 3]

    def are_awaited() -> bool:
        left.pop()
        return bool(left)

    async with asyncio.timeout(5):
        await wait_for_arrivals(are_awaited)
    assert left == []


async def test_the_wait_ends_when_its_time_is_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrivals, "ARRIVES", 0.05)
    async with asyncio.timeout(5):
        await wait_for_arrivals(lambda: True)


async def test_what_was_accepted_in_this_turn_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrivals, "ARRIVES", 60.0)
    begun = asyncio.Event()
    asyncio.get_running_loop().call_soon(begun.set)
    seen: list[bool] = []

    def are_awaited() -> bool:
        seen.append(begun.is_set())
        return False

    await wait_for_arrivals(are_awaited)
    assert seen == [True]
