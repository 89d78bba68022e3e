"""Each session that ends gives its lease back once, and is counted, sampled and logged once."""

from __future__ import annotations

import time
from typing import Any

import pytest

from bascule.gateway.sessions.link import Link
from bascule.handover.control import ForwarderChannel
from bascule.handover.counters import ForwarderWord
from bascule.handover.losses import claim_to_count
from bascule.handover.messages import Ended
from bascule.protocol.closing import End
from bascule.telemetry.durations import DURATIONS
from bascule.vocabulary import Cause, EndedBy, Kind, Refusal
from tests.support.bookkeeping import TAG, Bookkeeping


def link(slot: int, *, listed: bool = True) -> Link:
    """Return the channel to the first process of a slot; nothing is sent on it."""
    nothing: Any = None
    process = ForwarderChannel(slot, pid=1, hot_path="pure", restarts=0, number=1)
    made = Link(process, channel=nothing, reader=nothing, hearer=nothing, words=nothing)
    made.listed = listed
    return made


@pytest.fixture
def kept() -> Bookkeeping:
    return Bookkeeping()


def test_a_session_that_is_told_of_twice_is_one_of_its_user_and_route(kept: Bookkeeping) -> None:
    for _ in range(2):
        kept.live(1, time.monotonic() - 10)
    assert (kept.budget.in_use, len(kept.registry)) == (1, 1)
    assert kept.budget.try_acquire(0.0, "lab", "ada") is Refusal.USER_CAP
    assert kept.budget.in_use_on("lab") == 1


def test_an_outcome_of_one_that_nobody_knew_has_its_line_and_no_lease(kept: Bookkeeping) -> None:
    kept.live(1, time.monotonic())
    kept.outcomes.on_ended(0, Ended(2, 0, int(End.CLIENT_CLOSED), 1000, 2.5, 0.5, 1, 2, 3, 4, b"", TAG))
    assert kept.budget.in_use == 1
    assert kept.sampled == 1
    (line,) = kept.lines
    assert (line["id"], line["user"], line["duration_seconds"]) == ("2", "ada", 2.5)


def test_the_line_of_a_session_whose_browser_could_not_be_told_names_no_close(kept: Bookkeeping) -> None:
    kept.outcomes.on_ended(0, Ended(2, 0, int(End.UPSTREAM_ABORTED), 0, 2.5, 0.5, 1, 2, 3, 4, b"", TAG))
    (line,) = kept.lines
    assert (line["ended_by"], line["cause"]) == (EndedBy.UPSTREAM, Cause.ABORTED)
    assert not {"close_code", "close_reason"} & line.keys()


def test_what_is_lost_with_a_forwarder_is_counted_here_and_once(kept: Bookkeeping) -> None:
    began = time.monotonic() - 10
    kept.live(1, began)
    kept.live(2, began)
    for _ in range(2):
        kept.outcomes.on_lost(link(0))
    kept.outcomes.on_lost(link(1))
    assert (kept.budget.in_use, len(kept.registry), kept.sampled, len(kept.lines)) == (0, 0, 2, 2)
    assert kept.counters.ended(Kind.JUPYTER, EndedBy.PROXY, Cause.INTERNAL) == 2
    lasted = DURATIONS.reading(kept.counters.durations())
    assert lasted.cumulative[-1] == 2
    assert lasted.sum == pytest.approx(20, abs=5)


def test_what_two_gateways_know_to_be_lost_is_counted_and_logged_by_one(kept: Bookkeeping) -> None:
    former = Bookkeeping(kept.counters, place=1)
    for each in (kept, former):
        each.live(1, time.monotonic())
        each.outcomes.on_lost(link(0))
    assert (kept.budget.in_use, former.budget.in_use) == (0, 0)
    assert (len(kept.lines), len(former.lines), kept.sampled, former.sampled) == (1, 0, 1, 0)
    assert kept.counters.lost_count() == 1
    assert kept.counters.ended(Kind.JUPYTER, EndedBy.PROXY, Cause.INTERNAL) == 1
    assert DURATIONS.reading(kept.counters.durations()).cumulative[-1] == 1


def test_what_is_lost_with_one_that_had_not_told_all_is_the_supervisors_to_count(kept: Bookkeeping) -> None:
    kept.live(1, time.monotonic())
    kept.outcomes.on_lost(link(0, listed=False))
    assert (kept.budget.in_use, len(kept.lines)) == (0, 1)
    assert kept.counters.lost_count() == 0
    assert kept.counters.forwarder(0)[ForwarderWord.LOST_COUNTED] == 0


def test_what_the_supervisor_has_counted_is_not_counted_again(kept: Bookkeeping) -> None:
    kept.live(1, time.monotonic())
    assert claim_to_count(kept.counters.forwarder(0), 0)
    kept.outcomes.on_lost(link(0))
    assert (kept.budget.in_use, len(kept.lines)) == (0, 1)
    assert kept.counters.lost_count() == 0


def test_what_a_forwarder_carries_on_stays_as_it_was(kept: Bookkeeping) -> None:
    for identifier in (1, 2):
        kept.live(identifier, time.monotonic())
    for counted in (False, True):
        kept.outcomes.on_listed(0, {1, 2}, counted)
    kept.outcomes.on_listed(1, set(), False)
    assert (kept.budget.in_use, kept.lines) == (2, [])


def test_what_never_came_to_a_forwarder_is_lost_and_counted_here(kept: Bookkeeping) -> None:
    for identifier in (1, 2):
        kept.live(identifier, time.monotonic())
    for _ in range(2):
        kept.outcomes.on_listed(0, {2}, False)
    assert (kept.budget.in_use, kept.sampled) == (1, 1)
    assert [line["id"] for line in kept.lines] == ["1"]
    assert kept.counters.lost_count() == 1
    assert kept.counters.ended(Kind.JUPYTER, EndedBy.PROXY, Cause.INTERNAL) == 1
    assert kept.counters.forwarder(0)[ForwarderWord.LOST_COUNTED] == 0, "should it die, the others count"


def test_what_a_forwarder_has_counted_gives_its_lease_back_and_is_counted_no_more(kept: Bookkeeping) -> None:
    kept.live(1, time.monotonic())
    kept.outcomes.on_listed(0, set(), True)
    assert (kept.budget.in_use, len(kept.registry), kept.sampled, kept.lines) == (0, 0, 0, [])
    assert kept.counters.lost_count() == 0
