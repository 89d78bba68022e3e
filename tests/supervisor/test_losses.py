"""Every session that is lost with its forwarder is counted once, by a gateway or by the supervisor."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bascule.handover.counters import CounterFile, ForwarderWord, GatewayWord
from bascule.handover.losses import claim_to_count
from bascule.supervisor.gateways import Gateways
from bascule.supervisor.losses import Losses
from tests.supervisor.sleepers import Sleepers

if TYPE_CHECKING:
    from collections.abc import Iterator


class Rig(Sleepers):
    """Two slots, and a gateway that lives and is prepared."""

    def __init__(self) -> None:
        super().__init__()
        self.counters = CounterFile.create(2)
        self.gateways = Gateways()
        self.losses = Losses(self.counters, self.gateways, self.do_later)
        self.start(self.gateways.serving)
        self.gateways.serving.prepared = True

    def gateway_counts(self, slot: int, restarts: int) -> None:
        assert claim_to_count(self.counters.forwarder(slot), restarts)

    def pass_time(self, turns: int = 2) -> None:
        """Let the time of all deaths so far be over, in which the gateway had so many turns."""
        self.counters.gateway(self.gateways.serving.place)[GatewayWord.TURNS] += turns
        super().pass_time()

    @property
    def lost(self) -> list[int]:
        return [self.counters.forwarder(slot)[ForwarderWord.LOST] for slot in range(2)]


@pytest.fixture
def rig() -> Iterator[Rig]:
    rig = Rig()
    yield rig
    rig.end()


def test_a_gateway_that_lives_counts(rig: Rig) -> None:
    rig.losses.on_forwarders_death(0, 0, 3)
    rig.gateway_counts(0, 0)
    rig.pass_time()
    assert rig.lost == [0, 0]
    assert not rig.later


def test_one_that_had_no_turn_meanwhile_is_given_more_time(rig: Rig) -> None:
    rig.losses.on_forwarders_death(0, 0, 3)
    for turns in (0, 1, 0):
        rig.pass_time(turns)
        assert rig.lost == [0, 0]
    rig.gateway_counts(0, 0)
    rig.pass_time()
    assert rig.lost == [0, 0]
    assert not rig.later


def test_one_that_never_has_a_turn_is_stood_in_for_after_a_minute(rig: Rig) -> None:
    rig.losses.on_forwarders_death(0, 0, 3)
    for _ in range(11):
        rig.pass_time(0)
    assert rig.lost == [0, 0]
    rig.pass_time(0)
    assert rig.lost == [3, 0]
    assert not rig.later


def test_one_that_has_left_meanwhile_is_given_no_more_time(rig: Rig) -> None:
    rig.losses.on_forwarders_death(0, 0, 3)
    rig.dies(rig.gateways.serving)
    rig.pass_time(0)
    assert rig.lost == [3, 0]


def test_one_that_lives_and_does_not_count_in_time_is_stood_in_for(rig: Rig) -> None:
    rig.losses.on_forwarders_death(1, 0, 3)
    assert rig.lost == [0, 0]
    rig.pass_time()
    assert rig.lost == [0, 3]
    assert not claim_to_count(rig.counters.forwarder(1), 0)


def test_it_has_as_much_time_for_each_death(rig: Rig) -> None:
    rig.losses.on_forwarders_death(0, 0, 3)
    rig.pass_time(1)
    rig.losses.on_forwarders_death(1, 0, 2)
    rig.pass_time(1)
    assert rig.lost == [3, 0]
    rig.gateway_counts(1, 0)
    rig.pass_time(1)
    assert rig.lost == [3, 0]


def test_one_that_dies_about_then_is_stood_in_for_at_once_and_once(rig: Rig) -> None:
    rig.losses.on_forwarders_death(0, 0, 3)
    rig.dies(rig.gateways.serving)
    rig.losses.settle()
    rig.pass_time()
    assert rig.lost == [3, 0]


@pytest.mark.parametrize("is_prepared", [False, True])
def test_without_a_gateway_that_was_told_of_them_they_are_counted_at_once(
    rig: Rig, is_prepared: bool
) -> None:
    if is_prepared:
        rig.dies(rig.gateways.serving)
    rig.gateways.serving.prepared = is_prepared
    rig.losses.on_forwarders_death(0, 0, 3)
    assert rig.lost == [3, 0]


def test_each_process_of_a_slot_is_another(rig: Rig) -> None:
    rig.losses.on_forwarders_death(0, 0, 3)
    rig.gateway_counts(0, 0)
    rig.losses.on_forwarders_death(0, 1, 2)
    rig.losses.settle()
    assert rig.lost == [2, 0]


def test_sessions_are_counted_though_those_of_the_next_process_are_counted_before(rig: Rig) -> None:
    """It did not know the first one's: that had stood still when the gateway began."""
    rig.losses.on_forwarders_death(0, 0, 20)
    rig.losses.on_forwarders_death(0, 1, 10)
    rig.gateway_counts(0, 1)
    rig.pass_time()
    assert rig.lost == [20, 0]


def test_a_forwarder_without_sessions_takes_none_along(rig: Rig) -> None:
    rig.losses.on_forwarders_death(0, 0, 0)
    assert rig.later == []
    assert rig.counters.forwarder(0)[ForwarderWord.LOST_COUNTED] == 0
