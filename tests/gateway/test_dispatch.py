"""Channels to forwarders: what is said on one is heard, whatever happens to its other end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

import pytest
import uvloop
from structlog.testing import capture_logs

from bascule.gateway import dispatch as module
from bascule.gateway.dispatch import Dispatch
from bascule.gateway.life import Life, Stage
from bascule.handover.counters import ForwarderWord
from bascule.handover.descriptors import PacketReader, channel_pair, queued, send_packet
from bascule.handover.messages import (
    MAX_JOINED_MESSAGES,
    MAX_PACKET_BYTES,
    Adopt,
    Ended,
    List,
    Listed,
    Live,
    Moved,
    decode,
)
from tests.gateway.lives import at
from tests.support.waiting import eventually_async

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Heard:
    """What a gateway was told, in order.

    Attributes:
        listed: With each list: the slot, the sessions, and whether others have been counted.
        asked: Slots and numbers of the channels in whose place another was asked for.
    """

    def __init__(self, most: int | None = None, life: Life | None = None) -> None:
        self.log: list[tuple[str, int]] = []
        self.listed: list[tuple[int, set[int], bool]] = []
        self.asked: list[tuple[int, int]] = []
        self.words: defaultdict[int, list[int]] = defaultdict(lambda: [0] * len(ForwarderWord))
        self.started = 0
        self.channels = 0
        self.counts: Counter[int] = Counter()
        self.dispatch = Dispatch(
            self.counts,
            on_live=lambda _, live: self.log.append((("live",)[live.kind], live.id)),
            on_ended=lambda _, ended: self.log.append(("ended", ended.id)),
            on_listed=lambda *said: self.listed.append(said),
            on_lost=lambda link: self.log.append(("lost", link.slot)),
            ask=lambda *lost: self.asked.append(lost),
            words=lambda slot: self.words[slot],
            life=life or Life(),
            most=most,
        )

    def forwarder(self, slot: int) -> socket.socket:
        """Start one, and return its end of the channel."""
        self.started += 1
        return self.channel(slot)

    def channel(self, slot: int) -> socket.socket:
        """Return the forwarder's end of a channel to the one that was started last."""
        ours, theirs = channel_pair()
        self.channels += 1
        self.words[slot][ForwarderWord.CHANNEL] = self.channels
        self.dispatch.add(slot, 1, self.started, "pure", self.channels, ours)
        return theirs

    def forget(self) -> None:
        """End all channels from our side."""
        for link in self.dispatch.links.values():
            if link.is_open:
                asyncio.get_running_loop().remove_reader(link.channel.fileno())
                link.channel.close()


def ended(identifier: int) -> bytes:
    """Return the report of a session that ended well."""
    return Ended(identifier, 0, 0, 1000, 1.0, 0.0, 0, 0, 0, 0, b"", b"").encode()


async def test_outcomes_of_a_forwarder_that_died_are_heard_before_its_successor() -> None:
    heard = Heard()
    former = heard.forwarder(0)
    for identifier in range(600):
        send_packet(former, ended(identifier))
    former.close()
    # The gateway had no turn since: it reads of the successor first.
    successor = heard.forwarder(0)
    assert heard.log == [*(("ended", identifier) for identifier in range(600)), ("lost", 0)]
    heard.forget()
    successor.close()


async def test_outcomes_of_a_forwarder_that_died_before_it_read_are_heard() -> None:
    heard = Heard()
    former = heard.forwarder(0)
    assert heard.dispatch.close_session(0, 1, 0)
    for identifier in range(3):
        send_packet(former, ended(identifier))
    former.close()
    await heard.dispatch.changed.wait()
    assert heard.log == [*(("ended", identifier) for identifier in range(3)), ("lost", 0)]


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_a_forwarder_that_died_before_it_read_is_heard_out_before_there_is_a_successor(
    loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    async def dies() -> list[tuple[str, int]]:
        heard = Heard()
        forwarder = heard.forwarder(0)
        await asyncio.sleep(0)
        assert heard.dispatch.close_session(0, 1, 0)
        for identifier in range(3):
            send_packet(forwarder, ended(identifier))
        forwarder.close()
        await changed(heard)
        return heard.log

    with asyncio.Runner(loop_factory=loop) as runner:
        assert runner.run(dies()) == [*(("ended", identifier) for identifier in range(3)), ("lost", 0)]


async def test_an_outcome_is_taken_from_the_channel_only_when_it_has_been_acted_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A gateway that is killed meanwhile leaves it unread, for the next one."""
    heard = Heard()
    forwarder = heard.forwarder(0)
    unread = []
    monkeypatch.setattr(heard.dispatch, "_on_ended", lambda *_: unread.append(queued(forwarder.fileno()) > 0))
    send_packet(forwarder, ended(1) + ended(2))
    heard.dispatch._receive(heard.dispatch.links[0])
    assert unread == [True, True]
    assert queued(forwarder.fileno()) == 0
    heard.forget()
    forwarder.close()


async def test_only_outcomes_are_heard_of_what_a_gateway_that_died_left_unread() -> None:
    heard = Heard()
    former = heard.forwarder(0)
    left, theirs = channel_pair()
    heard.dispatch.read_rest(0, left)
    send_packet(theirs, Live(0, 1, 0, 0.0, 0.0, -1.0, 0, 0, 0, 0, b"").encode() + Listed(0).encode())
    send_packet(theirs, ended(2))
    send_packet(theirs, Moved().encode())
    theirs.close()
    await eventually_async(lambda: left.fileno() < 0, 10, "it is read to its end")
    assert heard.log == [("ended", 2)]
    assert heard.listed == []
    assert heard.dispatch.links[0].is_open, "the forwarder has not died"
    former.close()
    heard.forget()


async def test_a_packet_that_makes_no_sense_is_not_left_unread() -> None:
    """Otherwise whoever reads the rest would fail at it as well."""
    heard = Heard()
    with await failed(heard, ended(3) + b"\xff") as forwarder:
        assert not PacketReader().receive(forwarder).after_reset
    assert heard.log[2:] == []


async def test_a_channel_that_is_replaced_is_lost_once() -> None:
    heard = Heard()
    former = heard.forwarder(0)
    successor = heard.forwarder(0)
    assert heard.log == [("lost", 0)]
    assert former.recv(1) == b""
    heard.forget()
    for end in (former, successor):
        end.close()


async def test_a_second_channel_to_the_same_forwarder_loses_nothing() -> None:
    heard = Heard()
    first = heard.forwarder(0)
    second = heard.channel(0)
    send_packet(second, Listed(0).encode())
    send_packet(first, ended(1))
    first.close()
    await heard.dispatch.changed.wait()
    await asyncio.sleep(0)
    assert heard.log == [("ended", 1)]
    assert heard.dispatch.has_room()
    second.close()
    heard.dispatch.changed.clear()
    await heard.dispatch.changed.wait()
    assert heard.log == [("ended", 1), ("lost", 0)]


async def test_who_died_is_lost_to_a_gateway_that_has_retired_though_another_process_is_there_already() -> (
    None
):
    """And that tells its own outcomes to another gateway."""
    heard = Heard(life=at(Stage.RETIRED))
    heard.forwarder(0).close()
    heard.words[0][ForwarderWord.DIED_ON] = heard.words[0][ForwarderWord.CHANNEL]
    heard.words[0][ForwarderWord.CHANNEL] = 7
    await changed(heard)
    assert heard.log == [("lost", 0)]


@pytest.mark.parametrize("how", ["says so", "had no room to say so", "has not"])
async def test_who_has_moved_to_another_gateway_is_not_lost_to_one_that_has_retired(how: str) -> None:
    heard = Heard(life=at(Stage.RETIRED))
    channel = heard.forwarder(0)
    if how == "says so":
        send_packet(channel, Moved().encode())
    if how != "has not":
        heard.words[0][ForwarderWord.CHANNEL] = 7
    channel.close()
    await changed(heard)
    assert heard.log == ([("lost", 0)] if how == "has not" else [])
    assert not heard.dispatch.links


@pytest.mark.parametrize("dies", [False, True])
@pytest.mark.parametrize("stage", set(Stage) - {Stage.RETIRED}, ids=str)
async def test_who_has_moved_to_a_channel_that_is_still_on_its_way_here_is_not_lost(
    stage: Stage, dies: bool
) -> None:
    """As when it had asked for one: the supervisor gives it the first end."""
    heard = Heard(life=at(stage))
    with heard.forwarder(0) as channel:
        send_packet(channel, live(0, 1) + Listed(0).encode() + Moved().encode())
    await changed(heard)
    await asyncio.sleep(0)
    assert heard.log == [("live", 1)]
    with heard.forwarder(0) if dies else heard.channel(0):
        assert heard.log == [("live", 1), *([("lost", 0)] if dies else [])]
        heard.forget()


async def test_what_a_forwarder_has_that_hangs_is_reckoned_with_until_it_lists_it() -> None:
    """It was given two sessions by a former gateway, and is not waited for."""
    heard = Heard()
    heard.words[0][ForwarderWord.GIVEN] = 2
    with heard.forwarder(0) as hangs, heard.forwarder(1) as lives:
        send_packet(lives, Listed(0).encode())
        await changed(heard)
        assert heard.dispatch.has_room()
        assert heard.dispatch.unlisted() == 2
        heard.counts[0] = 1
        send_packet(hangs, live(0, 1))
        await eventually_async(lambda: heard.log, 5, "it is heard")
        assert heard.dispatch.unlisted() == 1, "the other"
        send_packet(hangs, Listed(0).encode())
        await changed(heard)
        assert heard.dispatch.unlisted() == 0
        assert heard.words[0][ForwarderWord.GIVEN] == 1
        heard.forget()


@pytest.mark.parametrize("channel", ["ours", "another gateway's"])
async def test_what_a_forwarder_has_is_noted_for_the_next_gateway_by_the_one_that_it_tells(
    channel: str,
) -> None:
    heard = Heard()
    with heard.forwarder(0) as forwarder:
        send_packet(forwarder, Listed(0).encode())
        await changed(heard)
        if channel != "ours":
            heard.words[0][ForwarderWord.CHANNEL] = 7
        heard.counts[0] = 3
        send_packet(forwarder, ended(1))
        await eventually_async(lambda: heard.log, 5, "it is heard")
        assert heard.words[0][ForwarderWord.GIVEN] == (3 if channel == "ours" else 0)
    heard.counts[0] = 0
    await changed(heard)
    assert heard.words[0][ForwarderWord.GIVEN] == 0
    assert not heard.dispatch.unlisted()


NONSENSE = {
    "unknown": b"\xff",
    "truncated": b"E123",
    "not for a gateway": List(1).encode(),
    "a kind that there is not": Live(0, 3, 99, 0.0, 0.0, -1.0, 0, 0, 0, 0, b"").encode(),
    "too long": bytes(MAX_PACKET_BYTES + 1),
}


async def changed(heard: Heard) -> None:
    """Wait until a channel is listed, or has ended."""
    heard.dispatch.changed.clear()
    async with asyncio.timeout(5):
        await heard.dispatch.changed.wait()


async def failed(heard: Heard, nonsense: bytes = b"\xff") -> socket.socket:
    """Start a forwarder that lists sessions 1 and 2, and then says what makes no sense."""
    channel = heard.forwarder(0)
    send_packet(channel, live(0, 1) + live(0, 2) + Listed(0).encode())
    await changed(heard)
    send_packet(channel, nonsense)
    await changed(heard)
    return channel


@pytest.mark.parametrize("nonsense", NONSENSE.values(), ids=NONSENSE)
async def test_who_says_what_makes_no_sense_is_not_lost_and_gets_another_channel(nonsense: bytes) -> None:
    heard = Heard()
    with capture_logs() as lines:
        with await failed(heard, nonsense) as channel:
            assert channel.recv(1) == b"", "it hears that this one is over"
        await asyncio.sleep(0)
        assert [(line["event"], line["slot"]) for line in lines] == [("channel failed", 0)]
    assert lines[0]["error"]
    assert heard.asked == [(0, 1)]
    assert not heard.dispatch.has_room(), "until its sessions are known again it gets no more"
    with heard.channel(0) as channel:
        # The outcome of session 2 was in what could not be read: the forwarder has counted it.
        send_packet(channel, live(0, 1) + Listed(0).encode())
        await changed(heard)
        assert heard.listed == [(0, {1, 2}, False), (0, {1}, True)]
        assert heard.dispatch.has_room()
        assert ("lost", 0) not in heard.log
        heard.forget()


async def test_sessions_are_lost_once_with_a_forwarder_that_dies_when_its_channel_has_failed() -> None:
    heard = Heard()
    (await failed(heard)).close()
    with heard.forwarder(0):
        assert heard.log.count(("lost", 0)) == 1
        heard.forget()


async def test_a_channel_that_fails_again_before_its_list_loses_nothing() -> None:
    heard = Heard()
    (await failed(heard)).close()
    heard.channel(0).close()  # as one does for which the forwarder had no descriptor
    await changed(heard)
    with heard.channel(0) as channel:
        send_packet(channel, live(0, 1) + Listed(0).encode())
        await changed(heard)
        assert heard.listed[1:] == [(0, {1}, True)]
        assert ("lost", 0) not in heard.log
        heard.forget()


async def test_a_gateway_that_has_retired_does_not_wait_for_a_channel_that_failed() -> None:
    heard = Heard(life=at(Stage.RETIRED))
    with heard.forwarder(0) as channel:
        assert heard.dispatch.is_linked
        send_packet(channel, b"\xff")
        await changed(heard)
        assert not heard.dispatch.is_linked


async def test_outcomes_on_the_channel_before_come_before_the_list_of_the_next() -> None:
    """The forwarder has asked for it, since it could not read what was said."""
    heard = Heard()
    with heard.forwarder(0) as first, heard.channel(0) as second:
        send_packet(second, Listed(0).encode())
        send_packet(first, ended(1))
        heard.dispatch._receive(heard.dispatch.links[0])
        assert (heard.log, heard.listed) == ([("ended", 1)], [(0, set(), False)])
        heard.forget()


def live(request: int, identifier: int) -> bytes:
    """Return what a forwarder says of one session in a list."""
    return Live(request, identifier, 0, 0.0, 0.0, -1.0, 0, 0, 0, 0, b"").encode()


async def test_a_list_is_whole_when_each_forwarder_has_sent_its_part_or_is_gone() -> None:
    heard = Heard()
    channels = [heard.forwarder(slot) for slot in range(3)]
    channels[2].close()
    listing = asyncio.create_task(heard.dispatch.list_sessions())
    await asyncio.sleep(0)
    for channel, identifier in zip(channels[:2], (7, 8), strict=True):
        (request,) = decode(channel.recv(64))
        assert isinstance(request, List)
        send_packet(channel, live(request.request, identifier) + Listed(request.request).encode())
    assert {found.id for found in await listing} == {7, 8}
    heard.forget()
    for channel in channels[:2]:
        channel.close()


async def test_a_forwarder_that_does_not_list_in_time_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LIST_TIMEOUT", 0.05)
    heard = Heard()
    silent = heard.forwarder(0)
    assert await heard.dispatch.list_sessions() == []
    send_packet(silent, live(1, 7) + Listed(1).encode())  # too late: nobody waits for it
    await asyncio.sleep(0.01)
    assert await heard.dispatch.list_sessions() == []
    heard.forget()
    silent.close()


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
    heard.dispatch.changed.clear()
    await heard.dispatch.changed.wait()
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
    monkeypatch.setattr(module, "_PATIENCE", 0.05)
    heard = Heard()
    sessions = hand_over(heard, 3, handed)
    assert await asyncio.gather(*(session.outcome for session in sessions)) == [None] * 3


@pytest.mark.parametrize("comes_back", [False, True])
async def test_what_a_forwarder_that_reads_nothing_had_no_room_for_is_not_lost_with_it(
    handed: contextlib.ExitStack, monkeypatch: pytest.MonkeyPatch, comes_back: bool
) -> None:
    monkeypatch.setattr(module, "_PATIENCE", 5.0 if comes_back else 0.2)
    heard = Heard()
    silent = await ready(heard, 0, handed)
    while heard.dispatch.close_session(0, 1, 0):
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
