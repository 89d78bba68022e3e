"""The plan of a drain: who is told when."""

import random

from hypothesis import given
from hypothesis import strategies as st

from bascule.policy.drainplan import cut_after, plan, slot_width

ROWS = st.lists(st.floats(0, 1e6), max_size=60).map(lambda idle: list(enumerate(idle, 1)))
RATE = st.one_of(st.just(0.0), st.floats(0.01, 1000))
SEEDS = st.integers(0, 2**32)


@given(st.floats(0, 1e5))
def test_a_stop_keeps_time_for_its_own_end_and_most_for_the_sessions(timeout: float) -> None:
    assert 0.75 * timeout <= cut_after(timeout) <= timeout
    assert timeout - cut_after(timeout) <= 0.5 + 1e-9


def test_a_stop_keeps_half_a_second_or_a_quarter_of_little_time() -> None:
    assert [cut_after(timeout) for timeout in (30, 2, 1, 0)] == [29.5, 1.5, 0.75, 0]


@given(ROWS, st.floats(0, 10), SEEDS)
def test_every_session_is_told_once_and_the_quietest_first(
    rows: list[tuple[int, float]], slot: float, seed: int
) -> None:
    told = plan(rows, slot=slot, randomness=random.Random(seed))
    idle = dict(rows)
    assert sorted(identifier for identifier, _ in told) == sorted(idle)
    assert [idle[identifier] for identifier, _ in told] == sorted(idle.values(), reverse=True)
    delays = [delay for _, delay in told]
    assert delays == sorted(delays)


@given(ROWS.filter(bool), st.floats(0.001, 10), SEEDS)
def test_each_is_told_within_a_slot_of_its_own(rows: list[tuple[int, float]], slot: float, seed: int) -> None:
    for position, (_, delay) in enumerate(plan(rows, slot=slot, randomness=random.Random(seed))):
        assert position * slot <= delay <= (position + 1) * slot


def test_the_moments_in_the_slots_differ() -> None:
    told = plan([(n, 0.0) for n in range(50)], slot=1.0, randomness=random.Random(1012))
    assert len({round(delay % 1, 3) for _, delay in told}) > 40


@given(
    st.integers(1, 10_000),
    RATE,
    st.one_of(st.none(), st.floats(0, 1e4)),
    st.floats(-10, 1e4, allow_subnormal=False),
)
def test_the_spread_never_takes_longer_than_there_is_time(
    count: int, rate: float, window: float | None, available: float
) -> None:
    slot = slot_width(count, rate=rate, window=window, available=available)
    assert 0 <= slot * count <= max(0.0, available) * (1 + 1e-9)


def test_the_rate_holds_where_there_is_time_and_a_window_replaces_it() -> None:
    assert slot_width(100, rate=50, window=None, available=10) == 1 / 50
    assert slot_width(3, rate=0.5, window=None, available=10) == 2
    assert slot_width(100, rate=50, window=5, available=10) == 5 / 100
    assert slot_width(100, rate=0, window=None, available=10) == 0
    assert slot_width(0, rate=50, window=None, available=10) == 0
