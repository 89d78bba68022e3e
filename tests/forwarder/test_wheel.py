"""The timer wheel: late by less than a slot, never early, nothing lost."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from bascule.forwarder.wheel import Wheel


def test_an_empty_wheel_has_nothing_to_do() -> None:
    wheel = Wheel(0.5)
    assert wheel.next_at == math.inf
    assert wheel.expire(1e9) == []


def test_a_timer_is_due_at_its_time_and_once() -> None:
    wheel = Wheel(0.5)
    wheel.schedule(7, 10.0)
    assert wheel.next_at == 10.0
    assert wheel.expire(9.99) == []
    assert wheel.expire(10.0) == [7]
    assert wheel.expire(100.0) == []
    assert wheel.next_at == math.inf


def test_timers_of_one_slot_come_together_in_order() -> None:
    wheel = Wheel(1.0)
    for identifier in (3, 1, 2):
        wheel.schedule(identifier, 4.2 + identifier / 10)
    assert wheel.next_at == 5.0
    assert wheel.expire(5.0) == [3, 1, 2]


def test_what_is_long_due_comes_at_once() -> None:
    wheel = Wheel(0.5)
    wheel.schedule(1, -3.0)
    assert wheel.expire(0.0) == [1]


def test_a_wheel_that_never_turns_is_never_due() -> None:
    # heartbeatIntervalMs 0: nothing is scheduled on it.
    assert Wheel(math.inf).next_at == math.inf


@given(
    resolution=st.sampled_from([0.01, 0.05, 0.5, 1.0]),
    timers=st.lists(st.floats(0, 1000, allow_nan=False), max_size=40),
    looks=st.lists(st.floats(0, 1100, allow_nan=False), max_size=10).map(sorted),
)
def test_every_timer_comes_once_not_early_and_less_than_a_slot_late(
    resolution: float, timers: list[float], looks: list[float]
) -> None:
    wheel = Wheel(resolution)
    for identifier, at in enumerate(timers):
        wheel.schedule(identifier, at)
    seen: list[int] = []
    tiny = 1e-6
    for now in [*looks, 2000.0]:
        due = wheel.expire(now)
        assert all(timers[identifier] <= now + tiny for identifier in due)
        seen += due
        left = [at for identifier, at in enumerate(timers) if identifier not in seen]
        assert all(at > now - resolution - tiny for at in left)
        assert now < wheel.next_at
        assert wheel.next_at <= min(left, default=math.inf) + resolution + tiny
    assert sorted(seen) == list(range(len(timers)))
