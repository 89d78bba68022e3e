"""Who stands still for too long hangs, and nobody else does."""

from __future__ import annotations

from itertools import count, islice
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from bascule.supervisor.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Iterator


def test_a_loop_that_stands_still_for_so_many_looks_hangs_and_is_told_so_once() -> None:
    watch = Watch(3)
    assert [watch.look(7, 0) for _ in range(6)] == [False, False, False, True, False, False]


def test_one_that_stands_still_is_known_before_it_is_given_up() -> None:
    watch = Watch(0)
    found = []
    for turns in (1, 2, 2, 2, 2, 3):
        watch.look(turns, 0)
        found.append(watch.stands_still)
    assert found == [False, False, False, False, True, False]


def test_every_turn_begins_the_time_anew() -> None:
    watch = Watch(3)
    assert not any(watch.look(look // 3, 0) for look in range(60))


def test_a_part_of_a_second_counts_as_a_whole_one() -> None:
    watch = Watch(2.5)
    assert [watch.look(1, 0) for _ in range(4)] == [False, False, False, True]


def test_no_patience_is_endless_patience() -> None:
    watch = Watch(0)
    assert not any(watch.look(1, 0) for _ in range(1000))


def waiting(each: float) -> Iterator[int]:
    """Return how long a process has waited for a core at each look, of which each adds so many seconds."""
    return count(0, round(each * 1e9))


def test_looks_between_which_a_process_waited_for_a_core_do_not_count() -> None:
    watch = Watch(3)
    found = [watch.look(7, waited) for waited in islice(waiting(0.6), 6)]
    assert not any(found)
    assert [watch.look(7, 3_000_000_000) for _ in range(3)] == [False, False, True]


def test_one_that_waits_little_is_not_excused() -> None:
    watch = Watch(3)
    found = [watch.look(7, waited) for waited in islice(waiting(0.4), 5)]
    assert found == [False, False, False, True, False]


def test_one_that_is_always_kept_waiting_hangs_after_three_times_as_long_and_is_told_so_once() -> None:
    watch = Watch(3)
    found = [watch.look(7, waited) for waited in islice(waiting(1.0), 15)]
    assert [look for look, hangs in enumerate(found) if hangs] == [9]


def test_that_one_stands_still_is_known_although_it_is_kept_waiting() -> None:
    watch = Watch(3)
    for waited in islice(waiting(1.0), 5):
        watch.look(7, waited)
    assert watch.stands_still


def test_without_patience_nobody_who_waits_for_a_core_hangs() -> None:
    watch = Watch(0)
    assert not any(watch.look(1, waited) for waited in islice(waiting(1.0), 1000))


@given(st.integers(5, 30), st.lists(st.integers(0, 3), max_size=200))
def test_it_hangs_exactly_when_the_count_was_the_same_for_so_many_looks(
    patience: int, steps: list[int]
) -> None:
    watch = Watch(patience)
    turns = still = 0
    watch.look(turns, 0)
    for step in steps:
        turns += step
        still = 0 if step else still + 1
        assert watch.look(turns, 0) == (still == patience)
