"""The next session goes to the usable forwarder with the fewest."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bascule.policy.placement import fewest


def test_without_a_usable_forwarder_there_is_none() -> None:
    assert fewest({0: 1}, []) is None


def test_a_slot_nobody_has_counted_has_none() -> None:
    assert fewest({0: 1}, [0, 1]) == 1
    assert fewest({0: 0}, [0, 1]) == 0


def test_the_lowest_among_equals() -> None:
    assert fewest({0: 2, 1: 1, 2: 1}, [2, 1, 0]) == 1


@given(
    sessions=st.dictionaries(st.integers(0, 8), st.integers(0, 100)),
    usable=st.lists(st.integers(0, 8), min_size=1),
)
def test_nobody_usable_has_fewer(sessions: dict[int, int], usable: list[int]) -> None:
    slot = fewest(sessions, usable)
    assert slot in usable
    assert all(sessions.get(slot, 0) <= sessions.get(other, 0) for other in usable)


@given(st.integers(1, 8), st.integers(1, 200))
def test_counting_keeps_the_forwarders_within_one_of_each_other(forwarders: int, sessions: int) -> None:
    counts = dict.fromkeys(range(forwarders), 0)
    for _ in range(sessions):
        slot = fewest(counts, counts)
        assert slot is not None
        counts[slot] += 1
    assert max(counts.values()) - min(counts.values()) <= 1
