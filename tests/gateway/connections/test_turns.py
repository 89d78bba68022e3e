"""Turns come in the order of waiting; nobody waits for those of another kind, nor for who has given up."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from bascule.gateway.connections.turns import Turns


class Crowd:
    """Some who want turns, named by a letter for their kind and a digit."""

    def __init__(self, most: int, most_of_one: int) -> None:
        self.turns = Turns(most, most_of_one)
        self.having: list[str] = []
        self._ends: dict[str, asyncio.Event] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def come(self, *names: str) -> None:
        for name in names:
            self._ends[name] = asyncio.Event()
            self.tasks[name] = asyncio.create_task(self._have(name))
        await self.settle()

    async def _have(self, name: str) -> None:
        async with self.turns.turn(name[0]):
            self.having.append(name)
            try:
                await self._ends[name].wait()
            finally:
                self.having.remove(name)

    async def end(self, *names: str) -> None:
        for name in names:
            self._ends[name].set()
        await self.settle()

    async def settle(self) -> None:
        for _ in range(5):
            await asyncio.sleep(0)


async def test_one_kind_has_its_part_and_others_pass_those_of_it_who_wait() -> None:
    crowd = Crowd(3, 2)
    await crowd.come("a1", "a2", "a3", "a4", "b1", "b2")
    assert crowd.having == ["a1", "a2", "b1"]
    assert crowd.turns.waiting == 3
    await crowd.end("b1")
    assert crowd.having == ["a1", "a2", "b2"], "the first who may"
    await crowd.end("a2", "a1")
    assert crowd.having == ["b2", "a3", "a4"]
    await crowd.end("a3", "a4", "b2")
    assert crowd.turns.waiting == 0


async def test_who_gives_up_leaves_his_place() -> None:
    crowd = Crowd(1, 1)
    await crowd.come("a1", "a2", "a3")
    crowd.tasks["a2"].cancel()
    await crowd.end("a1")
    assert crowd.having == ["a3"]


async def test_a_turn_that_comes_in_the_moment_of_giving_up_is_passed_on() -> None:
    crowd = Crowd(1, 1)
    await crowd.come("a1", "a2", "a3")
    crowd.tasks["a1"].cancel()
    await asyncio.sleep(0)  # its turn has ended, and a2 has not yet gone on
    crowd.tasks["a2"].cancel()
    await crowd.settle()
    assert crowd.having == ["a3"]


async def test_a_turn_ends_in_the_moment_in_which_others_give_up() -> None:
    crowd = Crowd(1, 1)
    await crowd.come("a1", "a2", "a3")
    crowd.tasks["a1"].cancel()
    crowd.tasks["a2"].cancel()  # a1's turn ends before a2 can leave its place
    done, _ = await asyncio.wait((crowd.tasks["a1"], crowd.tasks["a2"]))
    assert all(task.cancelled() for task in done), "no error for one who has had a turn"
    await crowd.settle()
    assert crowd.having == ["a3"]


async def test_a_turn_ends_with_an_error_too() -> None:
    turns = Turns(1, 1)
    for _ in range(2):
        with pytest.raises(KeyError):
            async with turns.turn("a"):
                raise KeyError
    assert turns._under_way == Counter(), "kinds do not add up"


async def test_many_who_wait_are_not_all_looked_at_with_each_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = 0
    fits = Turns._fits

    def counted(turns: Turns, kind: str) -> bool:
        nonlocal looks
        looks += 1
        return fits(turns, kind)

    monkeypatch.setattr(Turns, "_fits", counted)
    turns = Turns(4, 2)

    async def have() -> None:
        async with turns.turn("a"):
            await asyncio.sleep(0)

    await asyncio.gather(*(have() for _ in range(300)))
    assert looks <= 600
