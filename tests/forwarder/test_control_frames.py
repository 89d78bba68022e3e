"""Control frames of ours: heartbeats, pongs and Closes go out between frames and cannot pile up."""

from __future__ import annotations

import fcntl
import sys
import termios
import time
from typing import TYPE_CHECKING

import pytest

from bascule.forwarder.signs import MAX_PINGS
from bascule.handover.counters import FRAMES_BASE, ForwarderWord
from bascule.protocol.closing import End
from tests.support.frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    KEY,
    PING,
    PONG,
    TEXT,
    close,
    frame,
    frames_of,
    header,
)

if TYPE_CHECKING:
    import socket

    from tests.forwarder.conftest import MakeWorld
    from tests.support.farends import Peer
    from tests.support.relaying import Line, World

HEARTBEAT = b"\x8a\x00"
BEAT = 20.0


def _opcodes(data: bytes) -> list[int]:
    return [found.opcode for found in frames_of(data)]


# -- heartbeats -----------------------------------------------------------------------------------


def test_an_idle_browser_gets_one_empty_pong_an_interval(make_world: MakeWorld) -> None:
    world = make_world(heartbeat=BEAT)
    line = world.open()
    for beats in range(1, 4):
        world.later(BEAT + 1)
        assert bytes(line.browser.received) == HEARTBEAT * beats
    assert world.word(ForwarderWord.HEARTBEATS) == 3
    assert bytes(line.upstream.received) == b""


def test_no_heartbeat_before_its_time(make_world: MakeWorld) -> None:
    world = make_world(heartbeat=BEAT)
    line = world.open()
    world.later(BEAT - 2)
    assert bytes(line.browser.received) == b""


def test_an_interval_of_a_day_is_a_day(make_world: MakeWorld) -> None:
    world = make_world(heartbeat=86_400.0)
    line = world.open()
    for day in range(1, 3):
        for _ in range(24):
            world.later(3_590)
        assert bytes(line.browser.received) == HEARTBEAT * (day - 1)
        world.later(300)
        assert bytes(line.browser.received) == HEARTBEAT * day


def test_zero_disables_the_heartbeat(make_world: MakeWorld) -> None:
    world = make_world(heartbeat=0.0)
    line = world.open()
    world.later(1e6)
    assert bytes(line.browser.received) == b""


def test_a_heartbeat_due_inside_a_frame_waits_for_its_end(make_world: MakeWorld) -> None:  # 82
    world = make_world(heartbeat=BEAT)
    line = world.open(limit=1 << 25)
    data = frame(BINARY, b"x" * 100_000)
    line.upstream.send(data[:50_000])
    world.until(lambda: len(line.browser.received) == 50_000)
    for _ in range(5):
        world.later(BEAT + 1)
    assert bytes(line.browser.received) == data[:50_000]
    line.upstream.send(data[50_000:] + frame(TEXT, b"next"))
    world.until(lambda: len(line.browser.frames) == 3)
    assert _opcodes(bytes(line.browser.received)) in (
        [BINARY, PONG, TEXT],
        [BINARY, TEXT, PONG],  # both frames came in one read, whose end is the next boundary
    )
    assert world.word(ForwarderWord.HEARTBEATS) == 1


def test_a_heartbeat_goes_between_the_fragments_of_a_message(make_world: MakeWorld) -> None:
    world = make_world(heartbeat=BEAT)
    line = world.open()
    line.upstream.send(frame(TEXT, b"a", fin=False))
    world.until(lambda: line.browser.frames)
    world.later(BEAT + 1)
    line.upstream.send(frame(CONTINUATION, b"b"))
    world.until(lambda: len(line.browser.frames) == 3)
    assert _opcodes(bytes(line.browser.received)) == [TEXT, PONG, CONTINUATION]


def test_a_heartbeat_goes_while_only_part_of_a_header_has_come(make_world: MakeWorld) -> None:
    world = make_world(heartbeat=BEAT)
    line = world.open()
    data = frame(BINARY, b"x" * 70_000)
    line.upstream.send(data[:3])
    world.quiet()
    world.later(BEAT + 1)
    assert bytes(line.browser.received) == HEARTBEAT
    line.upstream.send(data[3:])
    world.until(lambda: bytes(line.browser.received) == HEARTBEAT + data)


STALLING = 1000
"""Frames of 1000 bytes that no connection here takes while its peer does not read."""


def _stall(world: World, line: Line) -> None:
    """Make the browser stop reading, and the upstream talk until bytes are stashed."""
    line.browser.stalled = True
    line.upstream.send(frame(TEXT, b"x" * 1000) * STALLING)
    world.until(lambda: line.stashed)
    world.quiet()


def test_a_stalled_browser_collects_no_heartbeats(make_world: MakeWorld) -> None:
    world = make_world(heartbeat=BEAT, unix=True)
    line = world.open(send=4608)
    _stall(world, line)
    stashed = line.stashed
    for _ in range(100):
        world.later(BEAT + 1)
    assert line.stashed <= stashed
    line.browser.stalled = False
    world.until(lambda: len([f for f in line.browser.frames if f.opcode == TEXT]) == STALLING)
    world.quiet()
    assert len([f for f in line.browser.frames if f.opcode == PONG]) <= 1


def test_no_heartbeat_follows_a_close(make_world: MakeWorld) -> None:
    world = make_world(heartbeat=BEAT, closing=1e5)
    line = world.open()
    line.upstream.send(close(4000))
    world.until(lambda: line.browser.frames)
    world.later(BEAT * 3)
    assert _opcodes(bytes(line.browser.received)) == [CLOSE]


# -- behind frames without a pause ----------------------------------------------------------------

BACKLOG = 6_000_000
WINDOW = 65536

SIZES = pytest.mark.parametrize("size", [1, 1000, 4093, 60_000, 100_000, 300_000])
BOTH_WAYS = pytest.mark.parametrize("who", ["browser", "upstream"])


def _busy(world: World, who: str, size: int) -> tuple[Line, Peer, Peer]:
    """Return a line, who is sent frames of zeros back to back on it, and their sender."""
    line = world.open()
    receiver, sender, key = (
        (line.browser, line.upstream, None) if who == "browser" else (line.upstream, line.browser, KEY)
    )
    data = frame(BINARY, bytes(size), key=key)
    sender.send(data * (BACKLOG // len(data)))
    for _ in range(5):
        world.turn()
    return line, receiver, sender


def _bytes_before_a_pong(world: World, receiver: Peer, sender: Peer) -> int:
    """Turn the loop until there is one; return how much was received before it, counted from now."""
    got = len(receiver.received)
    for _ in range(100):
        if (at := receiver.received.find(0x80 | PONG, got)) >= 0:
            break
        world.turn()
    assert sender.unsent, "there was a pause"
    assert at >= 0, "nothing came"
    return at - got


@SIZES
@BOTH_WAYS
def test_a_pong_waits_for_one_frame_and_not_for_a_pause(make_world: MakeWorld, who: str, size: int) -> None:
    world = make_world(window=WINDOW, unix=True)
    _, receiver, sender = _busy(world, who, size)
    receiver.send(frame(PING, b"alive?", key=KEY if who == "browser" else None))
    # What is read in the turn in which the ping is, and the rest of the frame in which that ends.
    assert _bytes_before_a_pong(world, receiver, sender) <= WINDOW + size


@SIZES
def test_a_heartbeat_waits_for_one_frame_and_not_for_a_pause(make_world: MakeWorld, size: int) -> None:
    world = make_world(window=WINDOW, unix=True, heartbeat=BEAT)
    _, receiver, sender = _busy(world, "browser", size)
    world.late += BEAT + 1
    world.relay.on_time(time.monotonic() + world.late)
    assert _bytes_before_a_pong(world, receiver, sender) <= size + 2


@SIZES
@BOTH_WAYS
def test_a_pong_to_a_peer_that_stalled_waits_for_what_is_queued_and_one_frame(
    make_world: MakeWorld, who: str, size: int
) -> None:
    world = make_world(window=WINDOW, unix=True)
    line, receiver, sender = _busy(world, who, size)
    receiver.stalled = True
    world.until(lambda: line.stashed)
    receiver.send(frame(PING, b"alive?", key=KEY if who == "browser" else None))
    world.quiet()
    queued = _unread(receiver.socket) + line.stashed
    receiver.stalled = False
    assert _bytes_before_a_pong(world, receiver, sender) <= queued + size


def _unread(connection: socket.socket) -> int:
    return int.from_bytes(fcntl.ioctl(connection, termios.FIONREAD, bytes(4)), sys.byteorder)


# -- pings ----------------------------------------------------------------------------------------


def test_a_ping_of_the_upstream_is_answered_masked_and_not_shown(line: Line) -> None:
    world = line.world
    line.upstream.send(frame(PING, b"are you there"))
    world.until(lambda: line.upstream.frames)
    (pong,) = line.upstream.frames
    assert (pong.opcode, pong.payload, pong.fin) == (PONG, b"are you there", True)
    assert pong.key is not None
    assert bytes(line.browser.received) == b""
    assert world.word(ForwarderWord.PINGS_ANSWERED_UPSTREAM) == 1


def test_a_ping_of_the_browser_is_answered_unmasked_and_not_shown(line: Line) -> None:
    world = line.world
    line.browser.send(frame(PING, b"x" * 125, key=KEY))
    world.until(lambda: line.browser.frames)
    assert bytes(line.browser.received) == frame(PONG, b"x" * 125)
    assert bytes(line.upstream.received) == b""
    assert world.word(ForwarderWord.PINGS_ANSWERED_BROWSER) == 1


def test_masking_keys_are_drawn_afresh(line: Line) -> None:
    world = line.world
    for _ in range(5):
        line.upstream.send(frame(PING, b"same"))
        world.quiet()
    assert len(line.upstream.frames) == 5
    assert len({found.key for found in line.upstream.frames}) == 5


def test_a_ping_is_cut_out_from_between_frames(line: Line) -> None:
    world = line.world
    one, two, three = (frame(TEXT, text) for text in (b"one", b"two", b"three"))
    line.upstream.send(
        frame(PING) + one + frame(PING, b"a") + frame(PING, b"b") + two + frame(PING, b"c") + three
    )
    world.until(lambda: len(line.browser.frames) == 3)
    assert bytes(line.browser.received) == one + two + three
    assert line.upstream.frames[-1].payload == b"c"


def test_a_few_pings_that_come_together_are_each_answered_in_order(make_world: MakeWorld) -> None:
    world = make_world(unix=True)
    line = world.open()
    line.upstream.send(b"".join(frame(PING, b"%d" % number) for number in range(10)))
    world.until(lambda: len(line.upstream.frames) == 10)
    assert [pong.payload for pong in line.upstream.frames] == [b"%d" % number for number in range(10)]


def test_of_many_pings_that_come_together_the_latest_are_answered(make_world: MakeWorld) -> None:
    # RFC 6455 §5.5.3: only the most recent needs an answer.
    world = make_world(unix=True)
    line = world.open()
    line.upstream.send(b"".join(frame(PING, b"%d" % number) for number in range(100)))
    world.until(lambda: line.upstream.frames)
    world.quiet()
    assert line.upstream.frames[-1].payload == b"99"
    assert len(line.upstream.frames) <= 2 * MAX_PINGS
    assert world.words[FRAMES_BASE + 16 + PING] == 100


def test_the_pong_to_an_upstream_waits_for_the_browsers_frame(line: Line) -> None:  # 81
    world = line.world
    data = frame(BINARY, b"x" * 1000, key=KEY)
    line.browser.send(data[:500])
    world.until(lambda: len(line.upstream.received) == 500)
    for number in range(5):
        line.upstream.send(frame(PING, b"%d" % number))
        world.quiet()
    assert bytes(line.upstream.received) == data[:500]
    line.browser.send(data[500:])
    world.until(lambda: len(line.upstream.frames) == 6)
    first, *pongs = line.upstream.frames
    assert first.raw == data
    assert [(pong.opcode, pong.payload) for pong in pongs] == [(PONG, b"%d" % number) for number in range(5)]


@pytest.mark.parametrize("who", ["browser", "upstream"])
def test_a_flood_of_pings_whose_pongs_nobody_reads_holds_a_few_pongs(
    make_world: MakeWorld, who: str
) -> None:  # 71, 80
    world = make_world(unix=True)
    line = world.open(send=4608)
    flooder = line.browser if who == "browser" else line.upstream
    flooder.stalled = True
    ping = frame(PING, b"p" * 125, key=KEY if who == "browser" else None)
    for _ in range(1000):
        flooder.send(ping * 3)
        world.turn()
    world.quiet()
    assert flooder.unsent == 0  # it is read all the while, and never makes us wait
    assert line.stashed <= MAX_PINGS * 131
    session = world.relay.sessions[line.id]
    pending = (session.outbound if who == "browser" else session.inbound).pending
    assert pending is not None
    assert len(pending.pongs) <= MAX_PINGS
    flooder.stalled = False
    world.quiet()
    pongs = flooder.frames
    assert {pong.opcode for pong in pongs} == {PONG}
    assert len(pongs) <= 3000  # never amplified


def test_a_flood_of_pings_does_not_keep_data_from_passing(line: Line) -> None:  # 80
    world = line.world
    line.upstream.send(frame(PING, b"p" * 125) * 5000 + frame(TEXT, b"data"))
    line.browser.send(frame(TEXT, b"typed", key=KEY))
    world.until(lambda: line.browser.frames)
    world.until(lambda: [f for f in line.upstream.frames if f.opcode == TEXT])


def test_pongs_of_the_peers_pass(line: Line) -> None:
    world = line.world
    line.browser.send(frame(PONG, b"from the browser", key=KEY))
    line.upstream.send(frame(PONG, b"from the upstream"))
    world.until(lambda: line.browser.frames and line.upstream.frames)
    assert line.upstream.frames[0].payload == b"from the browser"
    assert line.browser.frames[0].payload == b"from the upstream"


def test_a_ping_in_front_of_a_close_is_answered_and_the_close_passes(line: Line) -> None:
    world = line.world
    line.upstream.send(frame(PING, b"last") + close(4000))
    world.until(lambda: line.browser.frames and line.upstream.frames)
    assert line.browser.frames[0].code == 4000
    assert line.upstream.frames[0].payload == b"last"


# -- closes of ours -------------------------------------------------------------------------------


def test_a_close_of_ours_waits_for_the_end_of_the_frame(make_world: MakeWorld) -> None:
    world = make_world()
    line = world.open(limit=1 << 20)
    to_browser, to_upstream = frame(BINARY, b"x" * 1000), frame(BINARY, b"y" * 1000, key=KEY)
    line.upstream.send(to_browser[:300])
    line.browser.send(to_upstream[:300])
    world.until(lambda: len(line.browser.received) == len(line.upstream.received) == 300)
    world.relay.end(line.id, End.DRAIN)
    world.quiet()
    assert len(line.browser.received) == len(line.upstream.received) == 300
    line.upstream.send(to_browser[300:] + frame(TEXT, b"late"))
    line.browser.send(to_upstream[300:] + frame(TEXT, b"late", key=KEY))
    world.until(lambda: len(line.browser.frames) == len(line.upstream.frames) == 2)
    assert line.browser.frames[0].raw == to_browser
    assert line.upstream.frames[0].raw == to_upstream
    assert [line.browser.frames[1].code, line.upstream.frames[1].code] == [1012, 1001]


def test_a_close_of_ours_does_not_wait_for_the_frames_that_follow(line: Line) -> None:
    world = line.world
    to_browser, to_upstream = frame(BINARY, b"x" * 1000), frame(BINARY, b"y" * 1000, key=KEY)
    line.upstream.send(to_browser[:300])
    line.browser.send(to_upstream[:300])
    world.until(lambda: len(line.browser.received) == len(line.upstream.received) == 300)
    world.relay.end(line.id, End.DRAIN)
    # The end of either frame comes together with a part of the next one, whose end never comes.
    line.upstream.send(to_browser[300:] + to_browser[:300])
    line.browser.send(to_upstream[300:] + to_upstream[:300])
    world.until(lambda: len(line.browser.frames) == len(line.upstream.frames) == 2)
    assert line.browser.frames[0].raw == to_browser
    assert line.upstream.frames[0].raw == to_upstream
    assert [line.browser.frames[1].code, line.upstream.frames[1].code] == [1012, 1001]


def test_a_close_of_ours_waits_for_the_stash(make_world: MakeWorld) -> None:
    world = make_world(unix=True)
    line = world.open(send=4608)
    _stall(world, line)
    world.relay.end(line.id, End.DRAIN)
    world.quiet()
    line.browser.stalled = False
    world.until(lambda: line.browser.frames[-1:] and line.browser.frames[-1].opcode == CLOSE)
    *data, last = line.browser.frames
    assert {found.opcode for found in data} == {TEXT}
    assert all(found.payload == b"x" * 1000 for found in data)
    assert last.code == 1012
    assert line.browser.unfinished == b""


def test_pong_heartbeat_and_close_that_wait_together_go_in_that_order(make_world: MakeWorld) -> None:
    world = make_world(heartbeat=BEAT, closing=1e5)
    line = world.open()
    data = frame(BINARY, b"x" * 1000)
    line.upstream.send(data[:500])
    world.until(lambda: len(line.browser.received) == 500)
    line.browser.send(frame(PING, b"hi", key=KEY))
    world.quiet()
    world.later(BEAT + 1)
    world.relay.end(line.id, End.DRAIN)
    line.upstream.send(data[500:])
    world.until(lambda: len(line.browser.frames) == 4)
    first, pong, beat, last = line.browser.frames
    assert (first.raw, pong.payload, beat.raw, last.code) == (data, b"hi", HEARTBEAT, 1012)


@pytest.mark.parametrize("who", ["browser", "upstream"])
def test_a_close_that_waits_for_a_frame_whose_sender_leaves_is_given_up(line: Line, who: str) -> None:
    world = line.world
    sender, receiver, key = (
        (line.browser, line.upstream, KEY) if who == "browser" else (line.upstream, line.browser, None)
    )
    sender.send(header(BINARY, 1000, key=key) + b"x" * 10)
    world.until(lambda: receiver.received)
    before = bytes(receiver.received)
    world.relay.end(line.id, End.DRAIN)
    sender.close()
    world.until(lambda: receiver.over)
    assert bytes(receiver.received) == before
    receiver.close()
    assert line.outcome().end == End.DRAIN


def test_peers_that_both_leave_within_a_frame_are_waited_for_no_longer(make_world: MakeWorld) -> None:
    world = make_world(unix=True)
    line = world.open()
    line.upstream.send(header(BINARY, 1000) + b"x" * 10)
    line.browser.send(header(BINARY, 1000, key=KEY) + b"x" * 10)
    world.until(lambda: line.browser.received and line.upstream.received)
    world.relay.end(line.id, End.DRAIN)
    line.upstream.half_close()
    world.until(lambda: line.browser.over)
    line.browser.half_close()
    world.until(lambda: line.ended)
    assert line.upstream.unfinished


@pytest.mark.parametrize("who", ["browser", "upstream"])
def test_who_was_told_is_heard_out_though_the_other_side_leaves_within_a_frame(line: Line, who: str) -> None:
    world = line.world
    leaver, other, key = (
        (line.browser, line.upstream, KEY) if who == "browser" else (line.upstream, line.browser, None)
    )
    world.relay.end(line.id, End.DRAIN)
    world.until(lambda: line.browser.frames and line.upstream.frames)
    leaver.send(header(BINARY, 1000, key=key) + b"x" * 10)
    leaver.half_close()
    world.quiet()
    assert not other.over, "its answer to our Close was not awaited"
    other.send(close(other.frames[0].code, key=None if key else KEY))
    world.until(lambda: other.over)
