"""How long a repeat refusal is held: the first not at all, each further one longer, with jitter, bounded."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from bascule.policy.holdoff import FIRST_HOLD, MAX_CLIENTS, HoldOff

MAXIMUM = 30.0


class Always(random.Random):
    """Jitter that is always the same."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self._value = value

    def random(self) -> float:
        return self._value


def _refusals(holdoff: HoldOff, times: int, client: str = "c", path: bytes = b"/p") -> list[float]:
    """Refuse a client that comes back at once each time; return its holds."""
    now = 100.0
    holds = []
    for _ in range(times):
        hold = holdoff.refuse(client, path, now)
        holds.append(hold)
        now += hold
    return holds


def test_the_first_is_immediate_and_the_longest_double_up_to_the_maximum() -> None:
    assert _refusals(HoldOff(MAXIMUM, Always(1.0)), 9) == [0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]


def test_the_first_is_immediate_on_a_machine_that_has_just_started() -> None:
    assert HoldOff(MAXIMUM).refuse("c", b"/p", 0.0) == 0.0


def test_the_shortest_are_half_of_the_longest() -> None:
    assert _refusals(HoldOff(MAXIMUM, Always(0.0)), 8) == [0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0]


@given(st.integers(0, 2**32), st.integers(2, 40))
def test_jitter_stays_between_half_and_whole(seed: int, times: int) -> None:
    holds = _refusals(HoldOff(MAXIMUM, random.Random(seed)), times)
    for number, hold in enumerate(holds[1:]):
        longest = min(MAXIMUM, FIRST_HOLD * 2**number)
        assert longest / 2 <= hold <= longest


def test_clients_do_not_fall_into_step() -> None:
    holds = {_refusals(HoldOff(MAXIMUM), 5)[-1] for _ in range(20)}
    assert len(holds) > 15


def test_with_a_maximum_of_zero_nobody_is_held() -> None:
    assert _refusals(HoldOff(0.0), 5) == [0.0] * 5


def test_another_client_or_path_begins_anew() -> None:
    holdoff = HoldOff(MAXIMUM)
    _refusals(holdoff, 3)
    assert holdoff.refuse("other", b"/p", 100.0) == 0.0
    assert holdoff.refuse("c", b"/q", 100.0) == 0.0


def test_a_client_that_stays_away_is_forgotten_and_one_that_does_not_is_not() -> None:
    for wait, hold in ((MAXIMUM + 10, 0.5), (MAXIMUM + 10.01, 0.0)):
        holdoff = HoldOff(MAXIMUM, Always(1.0))
        holdoff.refuse("c", b"/p", 100.0)
        assert holdoff.refuse("c", b"/p", 100.0 + wait) == hold


def test_time_spent_held_is_not_time_stayed_away() -> None:
    holdoff = HoldOff(MAXIMUM, Always(1.0))
    now = 100.0
    for expected in (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0):
        hold = holdoff.refuse("c", b"/p", now)
        assert hold == expected
        now += hold + MAXIMUM  # comes back late each time, counted from the end of its hold


def test_a_client_that_got_in_begins_anew() -> None:
    holdoff = HoldOff(MAXIMUM)
    holdoff.admitted("c", b"/p")
    _refusals(holdoff, 3)
    assert holdoff.refuse("c", b"/p", 103.0) > 0.0
    holdoff.admitted("c", b"/p")
    assert holdoff.refuse("c", b"/p", 103.0) == 0.0


def test_memory_is_bounded_and_the_one_refused_longest_ago_goes() -> None:
    holdoff = HoldOff(MAXIMUM)
    for number in range(MAX_CLIENTS + 1):
        holdoff.refuse(str(number), b"/p", 100.0)
    assert holdoff.refuse("1", b"/p", 100.0) > 0.0
    assert holdoff.refuse("0", b"/p", 100.0) == 0.0


def test_a_client_is_new_once_and_again_when_it_was_not_refused_for_long() -> None:
    holdoff = HoldOff(MAXIMUM)
    long = MAXIMUM + holdoff.memory
    assert holdoff.is_new("c", 100.0)
    assert not holdoff.is_new("c", 100.0)
    assert not holdoff.is_new("c", 100.0 + long)
    assert not holdoff.is_new("c", 100.0 + 2 * long), "counted from the last refusal"
    assert holdoff.is_new("other", 100.0 + 2 * long)
    assert holdoff.is_new("c", 100.01 + 3 * long)


def test_clients_are_bounded_and_the_one_refused_longest_ago_is_new_again() -> None:
    holdoff = HoldOff(MAXIMUM)
    for number in range(MAX_CLIENTS):
        holdoff.is_new(str(number), 100.0)
    assert not holdoff.is_new("0", 100.0)
    assert holdoff.is_new("one more", 100.0)
    assert not holdoff.is_new("0", 100.0)
    assert not holdoff.is_new("2", 100.0)
    assert holdoff.is_new("1", 100.0)


def test_it_tells_whether_there_is_anything_to_forget() -> None:
    holdoff = HoldOff(MAXIMUM, Always(1.0))
    known = [holdoff.any_refused]
    holdoff.refuse("c", b"/p", 100.0)
    known.append(holdoff.any_refused)
    holdoff.admitted("another", b"/p")
    known.append(holdoff.any_refused)
    holdoff.admitted("c", b"/p")
    known.append(holdoff.any_refused)
    assert known == [False, True, True, False]
