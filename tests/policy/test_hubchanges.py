"""What instances tell each other of JupyterHub's routes: which change counts, and when two have the same."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule.policy import hubchanges
from bascule.policy.hubchanges import KEPT, Change, LastChanges

if TYPE_CHECKING:
    from random import Random

HERE = {"target": "http://10.0.0.1:8888"}
THERE = {"target": "http://10.0.0.2:8888"}

keys = st.sampled_from(["/", "/user/ada", "/user/grace"])
changes = st.builds(
    Change,
    routespec=keys,
    at=st.integers(0, 4).map(float),
    data=st.sampled_from([None, HERE, THERE]),
    active=st.floats(0, 9),
)


def after(*told: Change) -> LastChanges:
    """What an instance knows that has been told these, in this order."""
    last = LastChanges()
    for change in told:
        if last.is_news(change.routespec, change):
            last.note(change.routespec, change)
    return last


# -- lines ------------------------------------------------------------------------------------------------


@given(changes)
def test_a_change_is_read_as_it_was_written(change: Change) -> None:
    line = change.encode()
    assert b"\n" not in line
    read = Change.read(json.loads(line))
    assert read == (change if change.data is not None else change._replace(active=0.0))


@pytest.mark.parametrize(
    "line",
    [
        "1", "[]", "{}", '{"put": "/a"}', '{"remove": "/a"}', '{"remove": 1, "at": 1}',
        '{"remove": "/a", "at": "1"}', '{"remove": "/a", "at": true}', '{"remove": "/a", "at": NaN}',
        '{"remove": "/a", "at": Infinity}', '{"remove": "/a", "at": -1}', '{"remove": "/a", "at": 1e11}',
        f'{{"remove": "/a", "at": {"9" * 400}}}',
        '{"put": "/a", "at": 1, "active": 1, "data": 1}', '{"put": "/a", "at": 1, "active": 1, "data": []}',
        '{"put": "/a", "at": 1, "active": null, "data": {}}', '{"put": 1, "at": 1, "active": 1, "data": {}}',
        '{"put": "/a", "at": 1, "active": 1, "data": {"x": NaN}}',
        f'{{"put": "/a", "at": 1, "active": 1, "data": {{"x": {"[" * 64}{"]" * 64}}}}}',
    ],
)  # fmt: skip
def test_what_is_no_change_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match="no change"):
        Change.read(json.loads(line))


# -- which one counts -------------------------------------------------------------------------------------


@given(st.lists(changes, max_size=8), st.randoms(use_true_random=False))
def test_instances_that_have_heard_the_same_have_the_same_whatever_the_order(
    told: list[Change], random: Random
) -> None:
    other = [*told, *told]
    random.shuffle(other)
    one, two = after(*told), after(*other)
    assert one.digest == two.digest
    assert sorted(one.gone(0.0)) == sorted(two.gone(0.0))


@given(st.lists(changes, max_size=8))
def test_the_digest_is_that_of_the_routes_there_are(told: list[Change]) -> None:
    last = after(*told)
    there: dict[str, Change] = {}
    for change in told:
        known = there.get(change.routespec)
        if known is None or _order(known) < _order(change):
            there[change.routespec] = change
    alive = [change for change in there.values() if change.data is not None]
    assert last.digest == after(*alive).digest
    assert (last.digest == LastChanges().digest) == (not alive)


def _order(change: Change) -> tuple[float, int]:
    return change.at, hubchanges._last(change.routespec, change).mark


def test_two_additions_at_one_time_are_decided_in_the_same_way_everywhere() -> None:
    one, two = Change("/a", 1.0, HERE), Change("/a", 1.0, THERE)
    assert after(one, two).digest == after(two, one).digest in (after(one).digest, after(two).digest)


def test_an_addition_wins_over_a_removal_of_the_same_time() -> None:
    one, two = Change("/a", 1.0, HERE), Change("/a", 1.0, None)
    assert after(one, two).digest == after(two, one).digest == after(one).digest


def test_a_change_is_no_news_a_second_time() -> None:
    for change in (Change("/a", 1.0, HERE), Change("/a", 1.0, None)):
        assert not after(change).is_news("/a", change)


@given(st.lists(st.floats(0, 1e10), min_size=1))
def test_each_change_of_ours_is_later_than_all_that_is_known_whatever_the_clock_says(
    clock: list[float],
) -> None:
    last = LastChanges()
    times = []
    for number, now in enumerate(clock):
        change = Change("/a", last.after("/a", now), HERE if number % 2 else None)
        assert last.is_news("/a", change)
        last.note("/a", change)
        times.append(change.at)
    assert all(before < later for before, later in pairwise(times))
    assert times[0] == clock[0]


def test_the_time_of_a_route_is_that_of_its_last_addition() -> None:
    assert after(Change("/a", 1.0, HERE), Change("/a", 3.0, THERE), Change("/b", 2.0, HERE)).at("/a") == 3.0


# -- what is gone -----------------------------------------------------------------------------------------


def test_a_removal_is_remembered_for_an_hour_and_then_forgotten() -> None:
    last = after(Change("/a", 100.0, None), Change("/b", 200.0, None))
    assert list(last.gone(100.0 + KEPT)) == [Change("/a", 100.0, None), Change("/b", 200.0, None)]
    assert list(last.gone(100.5 + KEPT)) == [Change("/b", 200.0, None)]
    assert last.is_news("/a", Change("/a", 1.0, HERE))
    assert not last.is_news("/b", Change("/b", 1.0, HERE))


def test_removals_may_be_forgotten_and_undone_while_they_are_told() -> None:
    last = after(*(Change(f"/{number}", 1.0 + number, None) for number in range(4)))
    told = last.gone(1.0)
    assert next(told).routespec == "/0"
    last.note("/2", Change("/2", 9.0, HERE))
    assert [change.routespec for change in last.gone(2.5 + KEPT)] == ["/3"], "another is told, an hour later"
    assert [change.routespec for change in told] == ["/3"]


def test_a_route_that_is_back_is_not_gone() -> None:
    assert list(after(Change("/a", 1.0, None), Change("/a", 2.0, HERE)).gone(2.0)) == []


def test_of_too_many_removals_the_first_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hubchanges, "MOST_GONE", 2)
    last = after(*(Change(f"/{number}", 1.0, None) for number in range(3)))
    assert [change.routespec for change in last.gone(1.0)] == ["/1", "/2"]
