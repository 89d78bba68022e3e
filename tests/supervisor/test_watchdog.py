"""Who hangs is ended: asked for its last words, then killed."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from bascule.handover.counters import CounterFile, ForwarderWord, GatewayWord
from bascule.supervisor.child import Child
from bascule.supervisor.forwarderchild import ForwarderChild
from bascule.supervisor.gatewaychild import GatewayChild
from bascule.supervisor.watch import STARTING
from bascule.supervisor.watchdog import Watchdog

if TYPE_CHECKING:
    from collections.abc import Callable


class Process:
    pid = 1234


class Deaf(Child):
    """A process that is there, and what is done to it."""

    def __init__(self, number: int) -> None:
        super().__init__(number)  # type: ignore[call-arg]
        self.process = Process()  # type: ignore[assignment]
        self.done: list[object] = []

    def signal(self, number: signal.Signals) -> None:
        self.done.append(number)

    def kill(self, pid: int) -> None:
        self.done.append(pid)


class DeafGateway(Deaf, GatewayChild):
    pass


class DeafForwarder(Deaf, ForwarderChild):
    pass


class Rig:
    def __init__(self, patience: float) -> None:
        self.later: list[tuple[float, Callable[[], None]]] = []
        self.counters = CounterFile.create(1)
        self.still = 0
        self.dog = Watchdog(
            self.counters,
            patience,
            lambda seconds, action: self.later.append((seconds, action)),
            self.count_still,
        )
        self.gateway = DeafGateway(0)
        self.forwarder = DeafForwarder(0)

    def count_still(self) -> None:
        self.still += 1

    def look(self, times: int) -> None:
        for _ in range(times):
            self.dog.run()


def test_who_stands_still_is_ended_and_whoever_goes_round_is_not() -> None:
    rig = Rig(3)
    rig.dog.works(rig.gateway)
    rig.dog.works(rig.forwarder)
    rig.look(1)
    for _ in range(5):
        rig.counters.gateway(0)[GatewayWord.TURNS] += 1
        rig.look(1)

    assert rig.gateway.done == []
    assert rig.forwarder.done == [signal.SIGABRT]
    assert rig.dog.stands_still(rig.forwarder)


def test_that_one_stands_still_is_told_once_and_long_before_it_counts_as_hung() -> None:
    rig = Rig(0)
    rig.dog.works(rig.forwarder)
    rig.look(3)
    assert rig.still == 0
    rig.look(5)
    assert rig.still == 1
    rig.counters.forwarder(0)[ForwarderWord.TURNS] += 1
    rig.look(1)
    assert rig.still == 1
    rig.look(3)
    assert rig.still == 2
    assert rig.forwarder.done == []


def test_who_is_kept_waiting_for_a_core_is_not_ended() -> None:
    rig = Rig(3)
    rig.dog.works(rig.gateway)
    rig.dog.works(rig.forwarder)
    for _ in range(6):
        rig.counters.gateway(0)[GatewayWord.WAIT_NANOSECONDS] += 990_000_000
        rig.look(1)
    assert (rig.gateway.done, rig.forwarder.done) == ([], [signal.SIGABRT])


def test_a_forwarder_is_judged_by_its_own_turns() -> None:
    rig = Rig(3)
    rig.dog.works(rig.forwarder)
    for _ in range(6):
        rig.counters.forwarder(0)[ForwarderWord.TURNS] += 1
        rig.look(1)
    assert rig.forwarder.done == []


def test_a_look_is_followed_by_another() -> None:
    rig = Rig(3)
    rig.dog.run()
    ((seconds, again),) = rig.later
    assert (seconds, again) == (1.0, rig.dog.run)


def test_one_that_hears_nothing_is_killed() -> None:
    rig = Rig(2)
    rig.dog.works(rig.forwarder)
    rig.look(4)
    (last,) = [action for _, action in rig.later if action != rig.dog.run]
    last()
    assert rig.forwarder.done == [signal.SIGABRT, 1234]


def test_one_that_starts_has_longer_and_none_without_a_watchdog() -> None:
    rig = Rig(2)
    rig.dog.started(rig.forwarder)
    rig.look(10)
    assert rig.forwarder.done == []
    rig.look(int(STARTING) - 8)
    assert rig.forwarder.done == [signal.SIGABRT]
    free = Rig(0)
    free.dog.started(free.forwarder)
    free.look(100)
    assert free.forwarder.done == []


def test_who_has_died_is_left_alone() -> None:
    rig = Rig(2)
    rig.dog.works(rig.forwarder)
    rig.dog.has_died(rig.forwarder)
    rig.dog.has_died(rig.gateway)
    rig.look(10)
    assert rig.forwarder.done == []


def test_another_patience_is_for_all_and_begins_anew() -> None:
    rig = Rig(0)
    for child in (rig.forwarder, rig.gateway):
        child.ready = True
        rig.dog.works(child)
    rig.look(10)
    rig.dog.begin_anew(3)
    rig.counters.forwarder(0)[ForwarderWord.TURNS] += 1
    rig.look(3)
    assert (rig.forwarder.done, rig.gateway.done) == ([], [])
    rig.look(1)
    assert (rig.forwarder.done, rig.gateway.done) == ([signal.SIGABRT], [signal.SIGABRT])


def test_one_that_starts_keeps_its_time_when_patience_changes() -> None:
    rig = Rig(20)
    rig.dog.started(rig.forwarder)
    rig.look(10)
    rig.dog.begin_anew(5)
    rig.look(int(STARTING) - 1)
    assert rig.forwarder.done == []
    rig.forwarder.ready = True
    rig.dog.works(rig.forwarder)
    rig.look(6)
    assert rig.forwarder.done == [signal.SIGABRT]
