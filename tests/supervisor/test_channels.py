"""The serving gateway and each forwarder get a channel to each other, and another one if that is lost."""

from __future__ import annotations

import resource
from typing import TYPE_CHECKING

import pytest

from bascule.handover.control import ForwarderChannel, GatewayChannel, Unread
from bascule.supervisor.channels import Channels
from bascule.supervisor.forwarderchild import ForwarderChild
from bascule.supervisor.gateways import Gateways
from tests.supervisor.sleepers import Sleepers
from tests.support.descriptors import open_descriptors

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bascule.supervisor.gatewaychild import GatewayChild


class Rig(Sleepers):
    """A gateway and two forwarders, all started and ready."""

    def __init__(self) -> None:
        super().__init__()
        self.gateways = Gateways()
        self.gateway = self.gateways.serving
        self.forwarders = [ForwarderChild(slot) for slot in range(2)]
        self.channels = Channels(self.gateways, self.forwarders, self.do_later)
        for child in (self.gateway, *self.forwarders):
            self.start(child)
            child.ready = True
        self.gateway.prepared = True

    def one_outcome_is_left_unread(self) -> None:
        """Let the first forwarder tell the gateway something that this one never reads."""
        self.channels.connect(self.forwarders[0])
        with self.channel(self.forwarders[0])[1] as channel:
            channel.send(b"outcome")
        self.channel(self.gateway)[1].close()

    def reads_the_rest(self, gateway: GatewayChild) -> bool:
        """Tell whether a gateway is given first of all what another left unread, to its end."""
        said, channel = self.channel(gateway)
        with channel:
            return said == Unread(0) and [channel.recv(10), channel.recv(10)] == [b"outcome", b""]

    def gateway_is_back(self) -> None:
        """Start the gateway, which has died, and let it be prepared."""
        self.start(self.gateway)
        self.gateway.prepared = True

    def another_gateway_follows(self) -> None:
        """Let the gateway die; the next one is there at once, and is given its channels."""
        self.dies(self.gateway)
        self.channels.on_gateways_death(self.gateway)
        self.gateway_is_back()
        self.channels.connect_all()


@pytest.fixture
def rig() -> Iterator[Rig]:
    rig = Rig()
    yield rig
    rig.channels.close()
    rig.end()


def test_both_ends_of_a_channel_have_one_number_that_no_other_channel_has(rig: Rig) -> None:
    rig.channels.connect_all()
    first, second = rig.messages(rig.gateway)
    assert isinstance(first, ForwarderChannel)
    assert isinstance(second, ForwarderChannel)
    assert (first.slot, second.slot) == (0, 1)
    assert first.number != second.number
    assert rig.messages(rig.forwarders[0]) == [GatewayChannel(first.number)]
    assert rig.messages(rig.forwarders[1]) == [GatewayChannel(second.number)]


def test_a_gateway_that_is_not_prepared_gets_none(rig: Rig) -> None:
    rig.gateway.prepared = False
    rig.channels.connect_all()
    assert rig.told(rig.gateway) == rig.told(rig.forwarders[0]) == []
    assert not rig.later  # whoever prepares it connects it


def test_a_forwarder_that_is_not_ready_gets_none(rig: Rig) -> None:
    rig.forwarders[0].ready = False
    rig.channels.connect_all()
    assert rig.told(rig.gateway) == ["ForwarderChannel"]
    assert rig.told(rig.forwarders[0]) == []
    assert not rig.later


def test_a_channel_that_was_lost_is_replaced(rig: Rig) -> None:
    rig.channels.connect_all()
    lost = rig.messages(rig.gateway)[0]
    assert isinstance(lost, ForwarderChannel)
    rig.channels.replace(0, lost.number)
    (other,) = rig.messages(rig.gateway)
    assert isinstance(other, ForwarderChannel)
    assert other.slot == 0
    assert other.number > lost.number


def test_a_channel_that_was_replaced_meanwhile_is_not_replaced_again(rig: Rig) -> None:
    rig.channels.connect_all()
    lost = rig.messages(rig.gateway)[0]
    assert isinstance(lost, ForwarderChannel)
    rig.channels.connect(rig.forwarders[0])
    rig.told(rig.gateway)
    rig.channels.replace(0, lost.number)
    assert rig.told(rig.gateway) == []


def test_without_descriptors_for_a_channel_it_is_made_later(rig: Rig) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        rig.channels.connect(rig.forwarders[0])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert rig.told(rig.gateway) == []
    rig.pass_time()
    assert rig.told(rig.gateway) == ["ForwarderChannel"]
    assert not rig.later


def test_a_gateway_that_has_just_died_is_tried_again_and_its_successor_gets_the_channel(rig: Rig) -> None:
    rig.goes_deaf(rig.gateway)
    rig.channels.connect(rig.forwarders[0])
    assert rig.told(rig.forwarders[0]) == ["GatewayChannel"]
    rig.dies(rig.gateway)
    rig.gateway_is_back()
    rig.pass_time()
    assert rig.told(rig.gateway) == ["ForwarderChannel"]


def test_what_a_gateway_that_died_left_unread_is_given_to_the_next_before_its_channels(rig: Rig) -> None:
    rig.one_outcome_is_left_unread()
    rig.another_gateway_follows()
    assert rig.reads_the_rest(rig.gateway)
    assert rig.told(rig.gateway) == ["ForwarderChannel"] * 2


@pytest.mark.parametrize("times", [1, 2])
def test_who_dies_with_what_another_left_unread_leaves_it_to_the_next(rig: Rig, times: int) -> None:
    rig.one_outcome_is_left_unread()
    for _ in range(times):
        rig.another_gateway_follows()
        rig.channel(rig.gateway)[1].close()
        rig.pass_time()
    rig.another_gateway_follows()
    assert rig.reads_the_rest(rig.gateway)


def test_what_was_read_to_its_end_is_given_to_nobody_else(rig: Rig) -> None:
    rig.one_outcome_is_left_unread()
    rig.another_gateway_follows()
    assert rig.reads_the_rest(rig.gateway)
    rig.pass_time()
    assert not rig.later
    rig.another_gateway_follows()
    left = [said for said in rig.messages(rig.gateway) if isinstance(said, Unread)]
    assert left == [Unread(0), Unread(1)], "its own channels, and no others"


def test_what_a_forwarder_said_that_died_before_the_gateway_did_is_left_though_another_is_there(
    rig: Rig,
) -> None:
    """The gateway was killed first, but takes its time to die: it has a low priority."""
    rig.one_outcome_is_left_unread()
    rig.channels.connect(rig.forwarders[0])
    rig.channel(rig.gateway)[1].close()
    rig.pass_time()
    rig.another_gateway_follows()
    assert rig.reads_the_rest(rig.gateway)


def test_a_channel_in_the_place_of_one_that_was_read_to_its_end_is_all_that_is_kept(rig: Rig) -> None:
    held = open_descriptors()
    for _ in range(3):
        rig.channels.connect(rig.forwarders[0])
        assert rig.told(rig.gateway) == ["ForwarderChannel"]
        assert rig.told(rig.forwarders[0]) == ["GatewayChannel"]
        rig.pass_time()
    assert open_descriptors() == held + 1
    assert not rig.later


def test_one_look_is_due_however_many_gateways_have_died(rig: Rig) -> None:
    rig.one_outcome_is_left_unread()
    for _ in range(3):
        rig.another_gateway_follows()
    assert len(rig.later) == 1


def test_what_a_former_gateway_left_unread_is_given_to_the_serving_one_at_once(rig: Rig) -> None:
    rig.one_outcome_is_left_unread()
    successor = rig.gateways.prepare()
    assert successor is not None
    rig.start(successor)
    successor.prepared = True
    former = rig.gateways.take_over(0.0)
    rig.dies(former)
    rig.channels.on_gateways_death(rig.gateway)
    assert rig.reads_the_rest(successor)


def test_what_a_gateway_could_not_read_to_its_end_is_given_to_it_again(rig: Rig) -> None:
    rig.one_outcome_is_left_unread()
    rig.channels.replace(0, 1, given_up=True)
    assert rig.reads_the_rest(rig.gateway)
    assert rig.told(rig.gateway) == ["ForwarderChannel"]


def test_a_gateway_that_reads_nothing_is_given_later_what_was_left_unread(rig: Rig) -> None:
    rig.one_outcome_is_left_unread()
    rig.dies(rig.gateway)
    rig.channels.on_gateways_death(rig.gateway)
    rig.gateway_is_back()
    rig.goes_deaf(rig.gateway)
    rig.channels.connect_all()
    rig.dies(rig.gateway)
    rig.gateway_is_back()
    rig.pass_time()
    assert rig.reads_the_rest(rig.gateway)
