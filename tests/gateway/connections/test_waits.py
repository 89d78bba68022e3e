"""Waits of one length: who leaves is left alone, who does not is told once, in order."""

from __future__ import annotations

import asyncio
import socket
import time
from typing import TYPE_CHECKING

import pytest
import uvloop

from bascule.gateway.connections.waits import Waits

if TYPE_CHECKING:
    from collections.abc import Callable


async def test_who_waits_too_long_is_told_in_the_order_of_coming() -> None:
    over = asyncio.Event()
    told: list[str] = []

    def expire(who: str) -> None:
        told.append(who)
        if who == "last":
            over.set()

    waits = Waits(0.02, expire)
    for who in ("first", "gone", "second"):
        waits.enter(who)
    waits.leave("gone")
    waits.leave("gone")
    waits.enter("last")
    await over.wait()
    assert told == ["first", "second", "last"]
    assert len(waits) == 0


async def test_who_is_told_may_wait_again() -> None:
    over = asyncio.Event()
    times: list[float] = []
    loop = asyncio.get_running_loop()

    def expire(who: str) -> None:
        times.append(loop.time())
        if len(times) < 3:
            waits.enter(who)
        else:
            over.set()

    waits = Waits(0.02, expire)
    began = loop.time()
    waits.enter("again")
    await over.wait()
    assert [round((at - began) / 0.02) >= number for number, at in enumerate(times, 1)] == [True] * 3


async def test_who_waits_already_has_no_more_time_than_the_first_time() -> None:
    over = asyncio.Event()
    told: list[str] = []

    def expire(who: str) -> None:
        told.append(who)
        if who == "second":
            over.set()

    waits = Waits(0.02, expire)
    waits.enter("first")
    waits.enter("second")
    waits.enter("first")
    await over.wait()
    assert told == ["first", "second"]


class Looks:
    """Waits of a second, on a loop whose time is in the test's hands.

    Attributes:
        told: Who was told, and at which time.
    """

    def __init__(self, held: pytest.MonkeyPatch) -> None:
        loop = asyncio.get_running_loop()
        self.now = 100.0
        self.told: list[tuple[str, float]] = []
        self._timers: list[tuple[float, Callable[[], None]]] = []
        held.setattr(loop, "time", lambda: self.now)
        held.setattr(loop, "call_at", lambda at, look: self._timers.append((at, look)))
        self.waits = Waits[str](1.0, lambda who: self.told.append((who, round(self.now, 6))))

    def until(self, now: float) -> None:
        """Let the loop go round until then."""
        while self._timers and self._timers[0][0] <= now:
            at, look = self._timers.pop()
            self.now = max(self.now, at)
            look()
        self.now = now


async def test_whoever_comes_again_later_is_told_at_the_first_time(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as held:
        looks = Looks(held)
        looks.waits.enter("first")
        looks.until(100.55)
        looks.waits.enter("second")
        looks.waits.enter("first")
        assert list(looks.waits) == ["first", "second"]
        looks.until(110.0)
    assert looks.told == [("first", 101.0), ("second", 101.55)]


async def test_time_in_which_we_stood_still_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as held:
        looks = Looks(held)
        looks.waits.enter("one")
        looks.until(100.55)
        looks.now = 107.6  # the look of 100.6 is 7 s late
        looks.waits.enter("between")
        looks.until(120.0)
    assert looks.told == [("one", 108.0), ("between", 108.6)]


async def test_whoever_came_while_we_stood_still_at_the_end_of_a_wait_is_looked_at_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as held:
        looks = Looks(held)
        looks.waits.enter("came")
        looks.waits.enter("silent")
        looks.until(100.95)
        looks.now = 103.0
        looks.until(103.05)
        looks.waits.leave("came")
        looks.until(110.0)
    assert looks.told == [("silent", 103.1)]


async def test_standing_still_again_and_again_lets_a_wait_end_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as held:
        looks = Looks(held)
        looks.waits.enter("one")
        for _ in range(12):
            looks.now += 3.0
            looks.until(looks.now)
    assert [who for who, _ in looks.told] == ["one"]


async def test_one_timer_serves_all() -> None:
    loop = asyncio.get_running_loop()
    asked = 0
    call_at = loop.call_at

    def counting(*arguments: object, **named: object) -> asyncio.TimerHandle:
        nonlocal asked
        asked += 1
        return call_at(*arguments, **named)  # type: ignore[arg-type]

    loop.call_at = counting  # type: ignore[method-assign]
    waits: Waits[int] = Waits(60.0, lambda _: None)
    for who in range(1000):
        waits.enter(who)
    for who in range(1000):
        waits.leave(who)
    waits.enter(1)
    assert asked == 1


async def test_a_queue_that_ran_empty_starts_again() -> None:
    over = asyncio.Event()
    waits: Waits[str] = Waits(0.01, lambda _: over.set())
    waits.enter("one")
    await over.wait()
    over.clear()
    await asyncio.sleep(0)
    waits.enter("two")
    await over.wait()


async def test_one_whose_end_fails_keeps_nobody_waiting() -> None:
    over = asyncio.Event()
    failures: list[BaseException] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, said: failures.append(said["exception"]))

    def expire(who: str) -> None:
        if who == "bad":
            raise ValueError(who)
        over.set()

    waits = Waits(0.01, expire)
    waits.enter("bad")
    waits.enter("good")
    await over.wait()
    assert [type(failure) for failure in failures] == [ValueError]


@pytest.mark.parametrize("loop", [uvloop.new_event_loop, asyncio.new_event_loop], ids=["uvloop", "asyncio"])
def test_what_came_while_this_process_stood_still_is_heard_before_time_is_up(
    loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    async def stand_still() -> list[str]:
        told: list[str] = []
        over = asyncio.Event()

        def expire(who: str) -> None:
            told.append(who)
            over.set()

        def hear() -> None:
            asyncio.get_running_loop().remove_reader(ours)
            waits.leave("heard")

        waits = Waits(0.1, expire)
        ours, theirs = socket.socketpair()
        with ours, theirs:
            asyncio.get_running_loop().add_reader(ours, hear)
            waits.enter("heard")
            waits.enter("silent")
            await asyncio.sleep(0)
            theirs.send(b"x")
            time.sleep(1)  # noqa: ASYNC251 - this process stands still
            await over.wait()
        return told

    with asyncio.Runner(loop_factory=loop) as runner:
        assert runner.run(stand_still()) == ["silent"]
