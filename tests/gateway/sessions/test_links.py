"""Which sessions live, ended or are lost is known whatever happens to the channels of their forwarders."""

from __future__ import annotations

import asyncio
import errno
import os

import pytest
from structlog.testing import capture_logs

from bascule.gateway.life import Stage
from bascule.handover.counters import ForwarderWord
from bascule.handover.descriptors import channel_pair, send_packet
from bascule.handover.messages import MAX_PACKET_BYTES, List, Listed, Live, Moved
from tests.gateway.lives import at
from tests.gateway.sessions.channels import Heard, changed, ended, failed, live
from tests.support.waiting import eventually_async


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


async def test_only_outcomes_are_heard_of_what_a_gateway_that_died_left_unread() -> None:
    heard = Heard()
    former = heard.forwarder(0)
    left, theirs = channel_pair()
    heard.links.read_rest(0, left)
    send_packet(theirs, Live(0, 1, 0, 0.0, 0.0, -1.0, 0, 0, 0, 0, b"").encode() + Listed(0).encode())
    send_packet(theirs, ended(2))
    send_packet(theirs, Moved().encode())
    theirs.close()
    await eventually_async(lambda: left.fileno() < 0, 10, "it is read to its end")
    assert heard.log == [("ended", 2)]
    assert heard.listed == []
    assert heard.links.by_slot[0].is_open, "the forwarder has not died"
    former.close()
    heard.forget()


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
    await heard.links.changed.wait()
    await asyncio.sleep(0)
    assert heard.log == [("ended", 1)]
    assert heard.dispatch.has_room()
    second.close()
    await changed(heard)
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
    assert not heard.links.by_slot


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
        assert heard.links.unlisted() == 2
        heard.counts[0] = 1
        send_packet(hangs, live(0, 1))
        await eventually_async(lambda: heard.log, 5, "it is heard")
        assert heard.links.unlisted() == 1, "the other"
        send_packet(hangs, Listed(0).encode())
        await changed(heard)
        assert heard.links.unlisted() == 0
        assert heard.words[0][ForwarderWord.GIVEN] == 1
        heard.forget()


async def test_what_a_forwarder_has_is_reckoned_with_before_there_is_a_channel_to_it() -> None:
    """The channel to the other one came first, and this gateway serves as soon as that has listed its own."""
    heard = Heard()
    heard.words[1][ForwarderWord.GIVEN] = 2
    with heard.forwarder(0) as lives:
        send_packet(lives, Listed(0).encode())
        await changed(heard)
        assert heard.dispatch.has_room()
        assert heard.links.unlisted() == 2
        with heard.forwarder(1):
            assert heard.links.unlisted() == 2
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
    assert not heard.links.unlisted()


NONSENSE = {
    "unknown": b"\xff",
    "truncated": b"E123",
    "not for a gateway": List(1).encode(),
    "a kind that there is not": Live(0, 3, 99, 0.0, 0.0, -1.0, 0, 0, 0, 0, b"").encode(),
    "too long": bytes(MAX_PACKET_BYTES + 1),
}


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


async def test_another_channel_is_asked_for_in_the_place_of_one_that_the_loop_does_not_watch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """For want of memory, or by the user's limit of watches."""
    heard, loop = Heard(), asyncio.get_running_loop()

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as now:
        now.setattr(loop, "add_reader", refuse)
        with heard.forwarder(0) as first:
            assert heard.asked == [(0, 1)]
            assert not heard.dispatch.has_room()
            assert first.recv(1) == b"", "so the forwarder asks for another as well"
    with heard.channel(0) as second:
        send_packet(second, live(0, 1) + Listed(0).encode())
        await changed(heard)
        assert heard.dispatch.has_room()
        assert heard.log == [("live", 1)]
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
        assert heard.links.is_linked
        send_packet(channel, b"\xff")
        await changed(heard)
        assert not heard.links.is_linked


async def test_outcomes_on_the_channel_before_come_before_the_list_of_the_next() -> None:
    """The forwarder has asked for it, since it could not read what was said."""
    heard = Heard()
    with heard.forwarder(0) as first, heard.channel(0) as second:
        send_packet(second, Listed(0).encode())
        send_packet(first, ended(1))
        heard.links.by_slot[0].receive()
        assert (heard.log, heard.listed) == ([("ended", 1)], [(0, set(), False)])
        heard.forget()
