"""Each session that ends gives its lease back once, and is counted, sampled and logged once."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, cast

import pytest

from bascule.gateway.dispatch import Link
from bascule.gateway.outcomes import Outcomes
from bascule.gateway.registry import Registry
from bascule.handover.counters import CounterFile, ForwarderWord
from bascule.handover.messages import Ended, Live
from bascule.policy.budget import SessionBudget
from bascule.protocol.closing import End
from bascule.telemetry.accesslog import AccessLog
from bascule.telemetry.durations import DURATIONS, Durations
from bascule.telemetry.reservoir import Reservoir
from bascule.vocabulary import Cause, EndedBy, Kind, Refusal
from tests.support.recorder import Recorder

if TYPE_CHECKING:
    import socket

TAG = b"lab\x0010.0.0.7\x00lab:8888\x00ada"


class Rig:
    """A gateway's bookkeeping, with room for two sessions and one of each user."""

    def __init__(self, counters: CounterFile | None = None, place: int = 0, most: int = 2) -> None:
        self.counters = counters or CounterFile.create(2)
        self.registry = Registry()
        self.budget = SessionBudget(most, per_user=1)
        self.durations = Durations(Reservoir(300.0, 600.0, random=lambda: 0.5))
        self._log = Recorder()
        words = self.counters.gateway(place)
        log = AccessLog(self._log)
        self.outcomes = Outcomes(self.registry, self.budget, self.durations, log, self.counters, words, None)

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [fields for _, fields in self._log.seen]

    def live(self, identifier: int, since: float) -> None:
        self.outcomes.on_live(0, Live(0, identifier, 0, since, 0.0, -1.0, 0, 0, 0, 0, TAG))

    @property
    def sampled(self) -> int:
        return self.durations.summary(time.monotonic()).count_held


def link(slot: int, *, listed: bool = True) -> Link:
    """Return the channel to the first process of a slot; nothing is sent on it."""
    made = Link(slot, 1, 0, "pure", 1, cast("socket.socket", None))
    made.listed = listed
    return made


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_a_session_that_is_told_of_twice_is_one_of_its_user_and_route(rig: Rig) -> None:
    for _ in range(2):
        rig.live(1, time.monotonic() - 10)
    assert (rig.budget.in_use, len(rig.registry)) == (1, 1)
    assert rig.budget.try_acquire(0.0, "lab", "ada") is Refusal.USER_CAP
    assert rig.budget.in_use_on("lab") == 1


def test_an_outcome_of_one_that_nobody_knew_has_its_line_and_no_lease(rig: Rig) -> None:
    rig.live(1, time.monotonic())
    rig.outcomes.on_ended(0, Ended(2, 0, int(End.CLIENT_CLOSED), 1000, 2.5, 0.5, 1, 2, 3, 4, b"", TAG))
    assert rig.budget.in_use == 1
    assert rig.sampled == 1
    (line,) = rig.lines
    assert (line["id"], line["user"], line["duration_seconds"]) == ("2", "ada", 2.5)


def test_the_line_of_a_session_whose_browser_could_not_be_told_names_no_close(rig: Rig) -> None:
    rig.outcomes.on_ended(0, Ended(2, 0, int(End.UPSTREAM_ABORTED), 0, 2.5, 0.5, 1, 2, 3, 4, b"", TAG))
    (line,) = rig.lines
    assert (line["ended_by"], line["cause"]) == (EndedBy.UPSTREAM, Cause.ABORTED)
    assert not {"close_code", "close_reason"} & line.keys()


def test_what_is_lost_with_a_forwarder_is_counted_here_and_once(rig: Rig) -> None:
    began = time.monotonic() - 10
    rig.live(1, began)
    rig.live(2, began)
    for _ in range(2):
        rig.outcomes.on_lost(link(0))
    rig.outcomes.on_lost(link(1))
    assert (rig.budget.in_use, len(rig.registry), rig.sampled, len(rig.lines)) == (0, 0, 2, 2)
    assert rig.counters.ended(Kind.JUPYTER, EndedBy.PROXY, Cause.INTERNAL) == 2
    lasted = DURATIONS.reading(rig.counters.durations())
    assert lasted.cumulative[-1] == 2
    assert lasted.sum == pytest.approx(20, abs=5)


def test_what_two_gateways_know_to_be_lost_is_counted_and_logged_by_one(rig: Rig) -> None:
    former = Rig(rig.counters, place=1)
    for each in (rig, former):
        each.live(1, time.monotonic())
        each.outcomes.on_lost(link(0))
    assert (rig.budget.in_use, former.budget.in_use) == (0, 0)
    assert (len(rig.lines), len(former.lines), rig.sampled, former.sampled) == (1, 0, 1, 0)
    assert rig.counters.lost_count() == 1
    assert rig.counters.ended(Kind.JUPYTER, EndedBy.PROXY, Cause.INTERNAL) == 1
    assert DURATIONS.reading(rig.counters.durations()).cumulative[-1] == 1


def test_what_is_lost_with_one_that_had_not_told_all_is_the_supervisors_to_count(rig: Rig) -> None:
    rig.live(1, time.monotonic())
    rig.outcomes.on_lost(link(0, listed=False))
    assert (rig.budget.in_use, len(rig.lines)) == (0, 1)
    assert rig.counters.lost_count() == 0
    assert rig.counters.forwarder(0)[ForwarderWord.LOST_COUNTED] == 0


def test_what_the_supervisor_has_counted_is_not_counted_again(rig: Rig) -> None:
    rig.live(1, time.monotonic())
    rig.counters.forwarder(0)[ForwarderWord.LOST_COUNTED] = 1
    rig.outcomes.on_lost(link(0))
    assert (rig.budget.in_use, len(rig.lines)) == (0, 1)
    assert rig.counters.lost_count() == 0


def test_what_a_forwarder_carries_on_stays_as_it_was(rig: Rig) -> None:
    for identifier in (1, 2):
        rig.live(identifier, time.monotonic())
    for counted in (False, True):
        rig.outcomes.on_listed(0, {1, 2}, counted)
    rig.outcomes.on_listed(1, set(), False)
    assert (rig.budget.in_use, rig.lines) == (2, [])


def test_what_never_came_to_a_forwarder_is_lost_and_counted_here(rig: Rig) -> None:
    for identifier in (1, 2):
        rig.live(identifier, time.monotonic())
    for _ in range(2):
        rig.outcomes.on_listed(0, {2}, False)
    assert (rig.budget.in_use, rig.sampled) == (1, 1)
    assert [line["id"] for line in rig.lines] == ["1"]
    assert rig.counters.lost_count() == 1
    assert rig.counters.ended(Kind.JUPYTER, EndedBy.PROXY, Cause.INTERNAL) == 1
    assert rig.counters.forwarder(0)[ForwarderWord.LOST_COUNTED] == 0, "should it die, the others count"


def test_what_a_forwarder_has_counted_gives_its_lease_back_and_is_counted_no_more(rig: Rig) -> None:
    rig.live(1, time.monotonic())
    rig.outcomes.on_listed(0, set(), True)
    assert (rig.budget.in_use, len(rig.registry), rig.sampled, rig.lines) == (0, 0, 0, [])
    assert rig.counters.lost_count() == 0
