"""Every outcome is told to a gateway at least once, in order; a list only to the gateway it was made for."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING

import pytest

from bascule.forwarder.outbox import Outbox
from bascule.handover.descriptors import PacketReader, channel_pair
from bascule.handover.messages import Ended, Listed, decode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bascule.handover.messages import Message


def ended(identifier: int, reason: bytes = b"") -> Ended:
    return Ended(identifier, 0, 0, 1000, 1.5, 0.5, 0, 0, 0, 0, reason, b"")


class Rig:
    """An outbox, and gateways that come and go."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self._stack = stack
        self._reader = PacketReader()
        self.counted: list[int] = []
        self.outbox = Outbox(lambda outcome: self.counted.append(outcome.id))
        self.connect()

    def connect(self) -> None:
        ours, theirs = (self._stack.enter_context(end) for end in channel_pair())
        self.ours, self.gateway = ours, theirs

    def send(self) -> None:
        self.outbox.send(self.ours)

    def packet(self) -> list[Message]:
        return decode(self._reader.receive(self.gateway).data)

    def heard(self) -> list[int]:
        """Read all that waits in the channel; return which outcomes it tells."""
        heard: list[int] = []
        with contextlib.suppress(BlockingIOError):
            while True:
                heard += [said.id for said in self.packet() if isinstance(said, Ended)]
        return heard


@pytest.fixture
def rig() -> Iterator[Rig]:
    with contextlib.ExitStack() as stack:
        yield Rig(stack)


def test_what_was_put_in_during_a_turn_is_one_packet_in_order(rig: Rig) -> None:
    said: list[Ended | Listed] = [ended(1), Listed(0), ended(2)]
    for message in said:
        rig.outbox.put(message)
    rig.send()
    assert rig.packet() == said
    assert not rig.outbox


def test_an_outcome_is_counted_when_it_is_sent_or_would_be(rig: Rig) -> None:
    rig.outbox.put(ended(1))
    assert rig.counted == []
    rig.outbox.send(None)
    assert rig.counted == [1]
    rig.send()
    assert rig.counted == [1]
    assert rig.heard() == [1]


def test_what_a_full_channel_does_not_take_waits(rig: Rig) -> None:
    rig.ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 100_000)
    numbers = list(range(2000))
    for number in numbers:
        rig.outbox.put(ended(number, bytes(100)))
        rig.send()
    assert rig.outbox
    heard = []
    while rig.outbox:
        heard += rig.heard()
        rig.send()
    assert heard + rig.heard() == numbers


def test_an_outcome_is_not_counted_before_its_gateway_can_be_told(rig: Rig) -> None:
    # That gateway would count the session again, as lost, if this process died now.
    rig.ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 10_000)
    numbers = list(range(300))
    for number in numbers:
        rig.outbox.put(Listed(number))
        rig.outbox.put(ended(number, bytes(100)))
        rig.send()
    assert rig.outbox
    told = rig.heard()
    assert rig.counted == told
    rig.send()
    assert rig.counted == told + rig.heard()
    rig.outbox.leave_gateway()
    assert rig.counted == numbers, "the next one knows nothing of these sessions"


def test_another_gateway_gets_no_list_of_the_one_before_but_its_outcomes(rig: Rig) -> None:
    rig.outbox.put(ended(1))
    rig.outbox.put(Listed(7))
    rig.outbox.drop_lists()
    rig.connect()
    rig.send()
    assert rig.packet() == [ended(1)]


def test_what_was_sent_is_not_sent_again_to_another_gateway(rig: Rig) -> None:
    rig.outbox.put(ended(1))
    rig.send()
    rig.outbox.leave_gateway()
    rig.connect()
    rig.outbox.put(ended(2))
    rig.send()
    assert rig.heard() == [2]
