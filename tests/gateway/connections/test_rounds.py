"""So many go on in each turn of the loop, in the order in which they came."""

from __future__ import annotations

import asyncio

from bascule.gateway.connections.rounds import Rounds


async def _let_go_on(rounds: Rounds, number: int) -> tuple[list[asyncio.Task[None]], list[list[int]]]:
    """Let so many come at once; the tasks, and a list of those that went on for each turn, to be filled."""
    turns: list[list[int]] = [[]]

    async def come(which: int) -> None:
        await rounds.turn()
        turns[-1].append(which)

    return [asyncio.create_task(come(which)) for which in range(number)], turns


async def test_each_turn_has_so_many_in_the_order_in_which_they_came() -> None:
    rounds = Rounds(3)
    tasks, turns = await _let_go_on(rounds, 10)
    while not all(task.done() for task in tasks):
        await asyncio.sleep(0)
        turns.append([])
    assert max(map(len, turns)) == 3
    assert [which for turn in turns for which in turn] == list(range(10))


async def test_who_is_cancelled_takes_nobodys_place() -> None:
    rounds = Rounds(1)
    tasks, turns = await _let_go_on(rounds, 4)
    await asyncio.sleep(0)
    tasks[1].cancel()
    tasks[2].cancel()
    await asyncio.wait(tasks, timeout=5)
    assert [which for turn in turns for which in turn] == [0, 3]


async def test_who_comes_later_goes_on_at_once() -> None:
    rounds = Rounds(1)
    for _ in range(3):
        tasks, _ = await _let_go_on(rounds, 2)
        await asyncio.wait_for(asyncio.gather(*tasks), 5)
        for _ in range(3):
            await asyncio.sleep(0)
    await asyncio.wait_for(rounds.turn(), 5)
