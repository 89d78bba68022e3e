"""Each session that is handed over goes to the forwarder with the fewest, or waits until one takes it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from typing import TYPE_CHECKING

import pytest

from bascule.gateway.sessions import dispatch as module
from bascule.handover.counters import ForwarderWord
from bascule.handover.descriptors import PacketReader, send_packet
from bascule.handover.messages import MAX_JOINED_MESSAGES, Adopt, Listed, decode
from tests.gateway.sessions.channels import Heard, changed

if TYPE_CHECKING:
    from collections.abc import Iterator


class Session:
    """A session that is handed over, and what became of it."""

    def __init__(self, identifier: int, heard: Heard) -> None:
        self.message = Adopt(identifier, 0, 0, 0, 0.0, 1, b"", b"", b"", b"").encode()
        self.browser, self.upstream = socket.socketpair()
        self._counts = heard.counts
        self.outcome: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()

    def taken(self, slot: int) -> None:
        """See `Handed`."""
        self._counts[slot] += 1
        self.outcome.set_result(slot)

    def left(self) -> None:
        """See `Handed`."""
        self.outcome.set_result(None)


@pytest.fixture
def handed() -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as stack:
        yield stack


def hand_over(heard: Heard, number: int, stack: contextlib.ExitStack) -> list[Session]:
    """Hand so many sessions over in one turn of the loop."""
    sessions = [Session(identifier, heard) for identifier in range(number)]
    for session in sessions:
        stack.enter_context(session.browser)
        stack.enter_context(session.upstream)
        heard.dispatch.hand_over(session)
    return sessions


async def ready(heard: Heard, slot: int, stack: contextlib.ExitStack) -> socket.socket:
    """Start a forwarder that has listed its sessions."""
    channel = stack.enter_context(heard.forwarder(slot))
    send_packet(channel, Listed(0).encode())
    await changed(heard)
    return channel


def packets(channel: socket.socket) -> list[list[int]]:
    """Return the sessions of each packet that has come; each brought its descriptors."""
    found = []
    reader = PacketReader()
    with contextlib.suppress(BlockingIOError):
        while (packet := reader.receive(channel)).data:
            messages = [message for message in decode(packet.data) if isinstance(message, Adopt)]
            assert len(packet.descriptors) == 2 * len(messages)
            for descriptor in packet.descriptors:
                os.close(descriptor)
            found.append([message.id for message in messages])
    return found


async def test_what_is_handed_over_in_one_turn_travels_in_one_packet(handed: contextlib.ExitStack) -> None:
    heard = Heard()
    channel = await ready(heard, 0, handed)
    sessions = hand_over(heard, 5, handed)
    assert packets(channel) == []
    assert await asyncio.gather(*(session.outcome for session in sessions)) == [0] * 5
    assert packets(channel) == [[0, 1, 2, 3, 4]]
    heard.forget()


async def test_a_packet_carries_no_more_than_it_may(handed: contextlib.ExitStack) -> None:
    heard = Heard()
    channel = await ready(heard, 0, handed)
    sessions = hand_over(heard, MAX_JOINED_MESSAGES + 6, handed)
    await asyncio.gather(*(session.outcome for session in sessions))
    assert [len(packet) for packet in packets(channel)] == [MAX_JOINED_MESSAGES, 6]
    heard.forget()


async def test_sessions_of_one_turn_are_spread_over_the_forwarders(handed: contextlib.ExitStack) -> None:
    heard = Heard()
    heard.counts.update({0: 3, 1: 0})
    for slot in (0, 1):
        await ready(heard, slot, handed)
    sessions = hand_over(heard, 5, handed)
    await asyncio.gather(*(session.outcome for session in sessions))
    assert heard.counts == {0: 4, 1: 4}
    heard.forget()


async def test_among_forwarders_with_equally_many_the_lowest_slot_takes_the_next(
    handed: contextlib.ExitStack,
) -> None:
    heard = Heard()
    heard.counts.update({0: 2, 1: 1, 2: 1})
    for slot in (2, 1, 0):
        await ready(heard, slot, handed)
    sessions = hand_over(heard, 4, handed)
    assert await asyncio.gather(*(session.outcome for session in sessions)) == [1, 2, 0, 1]
    heard.forget()


async def test_a_forwarder_that_is_gone_takes_none_and_another_takes_them_all(
    handed: contextlib.ExitStack,
) -> None:
    heard = Heard()
    gone = await ready(heard, 0, handed)
    channel = await ready(heard, 1, handed)
    gone.close()
    sessions = hand_over(heard, 4, handed)
    assert await asyncio.gather(*(session.outcome for session in sessions)) == [1] * 4
    assert sorted(identifier for packet in packets(channel) for identifier in packet) == [0, 1, 2, 3]
    heard.forget()


async def test_no_forwarder_holds_more_than_its_descriptors_allow(handed: contextlib.ExitStack) -> None:
    heard = Heard(most=3)
    for slot in (0, 1):
        await ready(heard, slot, handed)
    sessions = hand_over(heard, 6, handed)
    await asyncio.gather(*(session.outcome for session in sessions))
    assert heard.counts == {0: 3, 1: 3}
    assert not heard.dispatch.has_room()
    heard.forget()


async def test_what_nobody_takes_waits_for_a_forwarder(handed: contextlib.ExitStack) -> None:
    heard = Heard()
    sessions = hand_over(heard, 3, handed)
    await asyncio.sleep(0)
    channel = await ready(heard, 0, handed)
    assert await asyncio.gather(*(session.outcome for session in sessions)) == [0] * 3
    assert sorted(identifier for packet in packets(channel) for identifier in packet) == [0, 1, 2]
    heard.forget()


async def test_what_nobody_takes_in_time_is_left(
    handed: contextlib.ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOST_OFFERS", 3)
    heard = Heard()
    sessions = hand_over(heard, 3, handed)
    assert await asyncio.gather(*(session.outcome for session in sessions)) == [None] * 3


async def test_what_waits_while_we_stand_still_is_taken_by_a_forwarder_that_is_back(
    handed: contextlib.ExitStack,
) -> None:
    heard = Heard()
    sessions = hand_over(heard, 3, handed)
    asyncio.get_running_loop().call_soon(time.sleep, 2.1)
    for _ in range(3):
        await asyncio.sleep(0.03)  # it is offered, and there is still nobody
    await ready(heard, 0, handed)
    assert await asyncio.gather(*(session.outcome for session in sessions)) == [0] * 3
    heard.forget()


@pytest.mark.parametrize("comes_back", [False, True])
async def test_what_a_forwarder_that_reads_nothing_had_no_room_for_is_not_lost_with_it(
    handed: contextlib.ExitStack, monkeypatch: pytest.MonkeyPatch, comes_back: bool
) -> None:
    monkeypatch.setattr(module, "_MOST_OFFERS", 250 if comes_back else 10)
    heard = Heard()
    silent = await ready(heard, 0, handed)
    while heard.links.close_session(0, 1, 0):
        pass
    sessions = hand_over(heard, 3, handed)
    await asyncio.sleep(0.05)
    silent.close()
    channel = await ready(heard, 0, handed) if comes_back else None
    outcomes = await asyncio.gather(*(session.outcome for session in sessions))
    assert outcomes == [0 if comes_back else None] * 3
    if channel is not None:
        assert sorted(identifier for packet in packets(channel) for identifier in packet) == [0, 1, 2]
        heard.forget()


async def test_what_a_forwarder_is_given_is_noted_before_it_has_it(
    handed: contextlib.ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gateway that dies right behind it would leave the next one a number that is too small."""
    heard = Heard()
    await ready(heard, 0, handed)
    given = heard.words[0]
    noted: list[int] = []

    def send(*_: object) -> None:
        noted.append(given[ForwarderWord.GIVEN])
        if len(noted) == 1:
            raise BlockingIOError

    monkeypatch.setattr(module, "send_packet", send)
    sessions = hand_over(heard, 3, handed)
    await asyncio.gather(*(session.outcome for session in sessions))
    assert noted == [3, 3]
    assert given[ForwarderWord.GIVEN] == 3
    heard.forget()
