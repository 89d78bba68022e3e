"""Who stands still for too long hangs, and nobody else does."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bascule.supervisor.watch import Watch


def test_a_loop_that_stands_still_for_so_many_looks_hangs_and_is_told_so_once() -> None:
    watch = Watch(3)
    assert [watch.look(7) for _ in range(6)] == [False, False, False, True, False, False]


def test_one_that_stands_still_is_known_before_it_is_given_up() -> None:
    watch = Watch(0)
    found = []
    for turns in (1, 2, 2, 2, 2, 3):
        watch.look(turns)
        found.append(watch.stands_still)
    assert found == [False, False, False, False, True, False]


def test_every_turn_begins_the_time_anew() -> None:
    watch = Watch(3)
    assert not any(watch.look(look // 3) for look in range(60))


def test_a_part_of_a_second_counts_as_a_whole_one() -> None:
    watch = Watch(2.5)
    assert [watch.look(1) for _ in range(4)] == [False, False, False, True]


def test_no_patience_is_endless_patience() -> None:
    watch = Watch(0)
    assert not any(watch.look(1) for _ in range(1000))


@given(st.integers(5, 30), st.lists(st.integers(0, 3), max_size=200))
def test_it_hangs_exactly_when_the_count_was_the_same_for_so_many_looks(
    patience: int, steps: list[int]
) -> None:
    watch = Watch(patience)
    turns = still = 0
    watch.look(turns)
    for step in steps:
        turns += step
        still = 0 if step else still + 1
        assert watch.look(turns) == (still == patience)
