"""Ends of a session: orders to end, closing handshakes, their deadlines, peers that leave without one."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING, Any

import pytest

from bascule.handover.descriptors import queued
from bascule.protocol.closing import CLOSE_TABLE, End
from tests.support.farends import Peer
from tests.support.frames import BINARY, CLOSE, KEY, PING, TEXT, close, frame, header

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.forwarder.conftest import MakeWorld
    from tests.support.relaying import Line, World


def test_of_two_orders_the_first_counts_and_one_for_nobody_is_none(line: Line) -> None:
    world = line.world
    world.relay.end(line.id, End.ADMIN, 4321, b"because")
    world.relay.end(line.id, End.DRAIN)
    world.relay.end(999, End.DRAIN)
    world.until(lambda: line.browser.frames and line.upstream.frames)
    assert [(f.code, f.reason) for f in line.browser.frames] == [(4321, b"because")]
    assert [(f.code, f.reason) for f in line.upstream.frames] == [(1001, b"Closed by an administrator")]


def test_the_first_end_wins(line: Line) -> None:
    world = line.world
    line.upstream.send(close(4000, b"mine"))
    world.until(lambda: line.browser.frames)
    world.relay.end(line.id, End.DRAIN)
    line.cut()
    assert line.ended is not None
    assert (line.ended.end, line.ended.code) == (End.UPSTREAM_CLOSED, 4000)


@pytest.mark.parametrize("answer", [close(1012, key=KEY), b""], ids=["answers", "just-leaves"])
def test_a_drained_browser_may_answer_or_leave(line: Line, answer: bytes) -> None:
    world = line.world
    world.relay.end(line.id, End.DRAIN)
    world.until(lambda: line.browser.frames and line.upstream.frames)
    if answer:
        line.browser.send(answer)
    assert line.cut().end == End.DRAIN


def test_a_close_that_nobody_answers_is_cut_at_its_deadline(make_world: MakeWorld) -> None:  # 85
    world = make_world(closing=5.0)
    line = world.open()
    line.browser.send(close(1000, key=KEY))
    world.until(lambda: line.upstream.frames)
    world.later(4.0)
    assert world.reports == []
    world.later(2.0)
    assert line.ended is not None
    assert (line.ended.end, line.ended.code) == (End.CLIENT_CLOSED, 1000)
    world.until(lambda: line.browser.over and line.upstream.over)


@pytest.mark.parametrize("who", ["browser", "upstream"])
def test_an_answer_that_came_while_we_were_held_up_is_read_before_its_time_is_up(
    make_world: MakeWorld, who: str
) -> None:
    world = make_world(closing=5.0)
    line = world.open()
    asks, answers = (line.upstream, line.browser) if who == "browser" else (line.browser, line.upstream)
    asks.send(close(1000, key=KEY if asks is line.browser else None))
    world.until(lambda: answers.frames)
    answers.send(close(4000, b"and why", key=KEY if answers is line.browser else None))
    world.later(15.0)  # the loop did not turn meanwhile: the process was stopped
    assert [(f.code, f.reason) for f in asks.frames] == [(4000, b"and why")]


def test_a_peer_that_talks_on_does_not_hold_a_session_that_was_to_be_cut_while_we_were_held_up(
    make_world: MakeWorld,
) -> None:
    world = make_world(closing=5.0)
    line = world.open()
    line.browser.send(close(1000, key=KEY))
    world.until(lambda: line.upstream.frames)
    world.late += 15.0  # the process was stopped
    looks = 0
    while line.ended is None:
        line.upstream.send(frame(TEXT, b"not an answer"))
        world.late += 0.05
        world.relay.on_time(time.monotonic() + world.late)
        world.turn()
        looks += 1
    assert 2 < looks < 25, "what came is read, but for no longer than a second"


def test_a_close_waiting_for_a_long_frame_has_the_time_it_was_given(make_world: MakeWorld) -> None:
    world = make_world(closing=5.0)
    line = world.open()
    data = frame(BINARY, b"x" * 1000)
    line.upstream.send(data[:500])
    world.until(lambda: len(line.browser.received) == 500)
    world.relay.end(line.id, End.DRAIN, within=60.0)
    for _ in range(5):
        world.later(8.0)
    assert world.reports == []
    line.upstream.send(data[500:])
    world.until(lambda: len(line.browser.frames) == 2)
    assert line.browser.frames[1].code == 1012


def test_a_close_waiting_for_a_long_frame_is_given_up_in_the_end(make_world: MakeWorld) -> None:
    world = make_world(closing=5.0)
    line = world.open()
    line.upstream.send(header(BINARY, 1000) + b"x" * 500)
    world.until(lambda: len(line.browser.received) == 504)
    world.relay.end(line.id, End.DRAIN, within=20.0)
    world.later(30.0)
    assert line.ended is not None
    assert (line.ended.end, line.ended.code, line.ended.reason) == (End.DRAIN, 0, b"")
    world.until(lambda: line.browser.over)
    assert len(line.browser.received) == 504


@pytest.mark.parametrize(
    ("end", "within", "waits"),
    # Looked at once and found waiting; the next look is soon. Or: it may not wait much longer.
    [(End.DRAIN, 60.0, 1.75), (End.ADMIN, None, 0.5), (End.IDLE, None, 0.5)],
)
def test_a_browser_has_its_time_to_answer_a_close_that_waited_for_a_long_frame(
    make_world: MakeWorld, end: End, within: float | None, waits: float
) -> None:
    closing = 0.8
    world = make_world(closing=closing)
    line = world.open()
    data = frame(BINARY, b"x" * 1000)
    line.upstream.send(data[:500])
    world.until(lambda: len(line.browser.received) == 500)
    began = time.monotonic()
    world.relay.end(line.id, end, within=within)
    world.until(lambda: time.monotonic() > began + waits * closing)
    told = time.monotonic()
    line.upstream.send(data[500:])
    world.until(lambda: line.ended)
    assert [f.code for f in line.browser.frames[1:]] == [CLOSE_TABLE[end].to_browser]
    assert time.monotonic() - told >= closing


def test_a_close_waits_for_a_long_frame_as_long_as_a_closing_handshake_may_take(
    make_world: MakeWorld,
) -> None:
    world = make_world(closing=5.0)
    line = world.open()
    line.upstream.send(header(BINARY, 1000) + b"x" * 500)
    world.until(lambda: len(line.browser.received) == 504)
    world.relay.end(line.id, End.ADMIN)
    world.later(4.0)
    assert world.reports == []
    world.later(2.0)
    assert line.ended is not None
    world.until(lambda: line.browser.over)
    assert len(line.browser.received) == 504


@pytest.mark.parametrize(
    "fault", [header(BINARY, 1 << 30), frame(BINARY, b"masked", key=KEY)], ids=["too big", "masked"]
)
def test_an_upstream_that_answers_a_close_with_a_fault_is_answered_for(line: Line, fault: bytes) -> None:
    world = line.world
    line.browser.send(close(4002, b"bye", KEY))
    world.until(lambda: line.upstream.frames)
    line.upstream.send(fault)
    world.until(lambda: line.browser.frames)
    assert [(f.code, f.reason) for f in line.browser.frames] == [(4002, b"bye")]
    assert line.cut().end == End.CLIENT_CLOSED


def test_the_browsers_connection_is_ended_by_us_and_the_upstreams_by_the_upstream(
    line: Line,
) -> None:
    # A server closes first (§7.1.1): we do towards the browser, the upstream does towards us.
    world = line.world
    line.browser.send(close(1000, key=KEY))
    world.until(lambda: line.upstream.frames)
    line.upstream.send(close(1000))
    world.until(lambda: line.browser.ended, "we end the browser's connection")
    world.quiet()
    assert not line.upstream.ended
    line.cut()


def test_an_upstream_that_leaves_without_an_answer_is_answered_for(line: Line) -> None:
    world = line.world
    line.browser.send(close(4002, b"bye", KEY))
    world.until(lambda: line.upstream.frames)
    line.upstream.close()
    world.until(lambda: line.browser.frames)
    assert [(f.code, f.reason) for f in line.browser.frames] == [(4002, b"bye")]
    line.browser.close()
    assert line.outcome().end == End.CLIENT_CLOSED


def test_a_browser_that_leaves_without_an_answer_is_answered_for(line: Line) -> None:
    world = line.world
    line.upstream.send(close(4002, b"bye"))
    world.until(lambda: line.browser.frames)
    line.browser.close()
    world.until(lambda: line.upstream.frames)
    assert [(f.code, f.reason) for f in line.upstream.frames] == [(4002, b"bye")]


def test_closes_that_cross_both_pass(line: Line) -> None:
    world = line.world
    line.browser.send(close(4001, key=KEY))
    line.upstream.send(close(4002))
    world.until(lambda: line.browser.frames and line.upstream.frames)
    assert line.browser.frames[0].code == 4002
    assert line.upstream.frames[0].code == 4001
    line.cut()


def _report_both(world: World, line: Line, first: bytes, said: bytes) -> list[Any]:
    """Let something of the upstream's and a Close of the browser's be reported together, in this order."""
    line.upstream.send(first)
    line.browser.send(said)
    signs_of = {flow.inbound: (flow, found) for flow, found in world.engine.turn(time.monotonic())}
    return [signs_of[False], signs_of[True]]


@pytest.mark.parametrize(
    ("first", "answer"),
    [
        pytest.param(frame(PING, b"alive?"), [], id="a ping"),
        pytest.param(b"\xff\x00", [(4000, b"bye")], id="a fault"),
        pytest.param(close(4321), [(4321, b"")], id="a Close"),
    ],
)
def test_nothing_of_ours_follows_a_close_that_passed_in_the_same_turn(
    make_world: MakeWorld, first: bytes, answer: list[Any]
) -> None:  # I2
    world = make_world(unix=True)
    line = world.open()
    world.quiet()
    for flow, found in _report_both(world, line, first, close(4000, b"bye", KEY)):
        world.relay.on_signs(flow, found)
    world.quiet()
    assert [(found.opcode, found.code) for found in line.upstream.frames] == [(CLOSE, 4000)]
    assert [(found.code, found.reason) for found in line.browser.frames] == answer
    assert line.cut().end == (End.UPSTREAM_CLOSED if first == close(4321) else End.CLIENT_CLOSED)


def test_the_end_of_a_connection_is_answered_by_the_close_that_passed_in_the_same_turn(
    make_world: MakeWorld,
) -> None:
    world = make_world(unix=True)
    line = world.open()
    world.quiet()
    line.upstream.half_close()
    for flow, found in _report_both(world, line, b"", close(4000, b"bye", KEY)):
        world.relay.on_signs(flow, found)
    world.quiet()
    assert [found.code for found in line.upstream.frames] == [4000]
    assert [(found.code, found.reason) for found in line.browser.frames] == [(4000, b"bye")]


def test_an_order_that_comes_with_a_peers_close_in_one_turn_is_too_late(make_world: MakeWorld) -> None:  # I2
    world = make_world(unix=True, closing=5.0)
    line = world.open()
    line.browser.send(close(4000, b"bye", KEY))
    ((flow, found),) = world.engine.turn(time.monotonic())
    world.relay.end(line.id, End.DRAIN, within=0.5)
    world.relay.on_signs(flow, found)
    world.later(1.0)
    assert [found.code for found in line.upstream.frames] == [4000]
    assert line.browser.frames == []
    line.upstream.send(close(4000, b"bye"))
    line.upstream.close()
    line.browser.half_close()
    world.until(lambda: line.ended)
    assert line.ended is not None
    assert (line.ended.end, line.ended.code, line.ended.reason) == (End.CLIENT_CLOSED, 4000, b"bye")
    assert [found.code for found in line.browser.frames] == [4000]
    assert world.closes("browser", "4000-4999") == 1


def test_our_close_and_the_peers_may_cross_and_only_one_goes_out(line: Line) -> None:  # I2
    world = line.world
    world.relay.end(line.id, End.DRAIN)
    line.upstream.send(close(4001))
    line.browser.send(close(4002, key=KEY))
    world.quiet()
    assert [f.code for f in line.browser.frames] == [1012]
    assert [f.code for f in line.upstream.frames] == [1001]
    assert line.cut().end == End.DRAIN


def test_data_behind_our_close_is_read_and_dropped(line: Line) -> None:
    world = line.world
    world.relay.end(line.id, End.DRAIN)
    line.upstream.send(frame(TEXT, b"late") * 100 + close(1001))
    line.browser.send(frame(TEXT, b"late", key=KEY) * 100 + close(1012, key=KEY))
    world.until(lambda: line.browser.ended and line.upstream.ended, "both answers were found behind the data")
    assert [f.opcode for f in line.browser.frames] == [CLOSE]
    assert [f.opcode for f in line.upstream.frames] == [CLOSE]


def test_a_half_closed_browser_counts_as_gone(line: Line) -> None:
    world = line.world
    line.browser.half_close()
    world.until(lambda: line.upstream.frames)
    assert line.upstream.frames[0].code == 1001
    assert line.cut().end == End.CLIENT_ABORTED


def test_an_upstream_that_sends_its_last_words_and_ends_is_heard_out(line: Line) -> None:
    world = line.world
    words = frame(TEXT, b"last words") * 50
    line.upstream.send(words)
    line.upstream.half_close()
    world.until(lambda: len(line.browser.frames) == 51)
    assert bytes(line.browser.received).startswith(words)
    assert line.browser.frames[-1].code == 1014


def test_of_a_browser_that_is_left_inside_a_frame_no_close_is_reported(line: Line) -> None:
    world = line.world
    line.upstream.send(header(BINARY, 1000) + b"x" * 500)
    world.until(lambda: len(line.browser.received) == 504)
    line.upstream.close()
    world.until(lambda: line.browser.over)
    line.browser.close()
    world.until(lambda: line.ended)
    assert line.ended is not None
    assert (line.ended.end, line.ended.code, line.ended.reason) == (End.UPSTREAM_ABORTED, 0, b"")
    assert world.closes("proxy", "1014") == 0


def test_of_a_browser_that_takes_nothing_any_more_no_close_is_reported(make_world: MakeWorld) -> None:
    world = make_world(closing=5.0)
    line = world.open(send=4608, receive=4096)
    line.browser.stalled = True
    line.upstream.send(frame(BINARY, b"x" * 100_000))
    line.upstream.half_close()
    world.quiet()
    world.relay.end(line.id, End.ADMIN)
    world.later(20.0)
    assert line.ended is not None
    assert (line.ended.code, line.ended.reason) == (0, b"")


def test_a_reset_that_is_noticed_by_writing_is_an_abort(line: Line) -> None:
    world = line.world
    line.browser.reset()
    line.upstream.send(frame(TEXT, b"x" * 1000) * 100)
    world.until(lambda: line.upstream.frames)
    assert line.upstream.frames[-1].code == 1001
    line.upstream.close()
    assert line.outcome().end == End.CLIENT_ABORTED


def test_a_peer_that_ends_only_its_reading_ends_the_session(make_world: MakeWorld) -> None:
    # What the other side says would vanish from now on, and nothing else would ever tell it so.
    world = make_world(unix=True)
    line = world.open()
    line.upstream.send(frame(TEXT, b"last words"))
    line.upstream.socket.shutdown(socket.SHUT_RD)
    line.browser.send(frame(TEXT, b"typing", key=KEY))
    world.until(lambda: len(line.browser.frames) == 2)
    assert line.browser.frames[0].payload == b"last words"
    assert line.browser.frames[1].code == 1014
    assert line.cut().end == End.UPSTREAM_ABORTED


def test_an_upstream_whose_close_comes_with_its_reset_is_no_abort(line: Line) -> None:
    # The write to it fails first; what it had sent is read before the row is chosen.
    world = line.world
    line.upstream.send(close(4000, b"I said so"))
    line.upstream.close()
    line.browser.send(frame(TEXT, b"typing", key=KEY))
    world.until(lambda: line.browser.frames)
    assert line.browser.frames[0].code == 4000
    line.browser.close()
    assert line.outcome().end == End.UPSTREAM_CLOSED


def test_a_close_that_cannot_be_passed_on_ends_the_session_by_its_deadline(make_world: MakeWorld) -> None:
    world = make_world(closing=5.0)
    line = world.open(receive=4096, send=8192)
    # That direction waits for the browser, so the end of the upstream's connection is not read.
    line.browser.stalled = True
    line.upstream.send(frame(BINARY, bytes(900_000)))
    world.until(lambda: line.stashed)
    line.upstream.reset()
    world.quiet()
    line.browser.send(close(4000, b"bye", KEY))
    world.quiet()
    assert line.stashed
    world.later(6.0)
    assert line.ended is not None
    assert line.ended.end == End.CLIENT_CLOSED


_HEARTBEATS = pytest.mark.parametrize("heartbeat", [20.0, 0.0], ids=["heartbeats", "none"])
_LEAVING = pytest.mark.parametrize("leave", [Peer.close, Peer.reset, Peer.half_close])
_KERNEL = pytest.mark.parametrize("unix", [False, True], ids=["tcp", "unix"])


def _leave_before_all_is_taken(
    world: World, leave: Callable[[Peer], None] = Peer.close, key: bytes | None = KEY
) -> Line:
    """Open a session of which one peer leaves, by default the browser, while the other takes nothing."""
    line = world.open(send=8192, receive=4096)
    stays, leaves = (line.upstream, line.browser) if key else (line.browser, line.upstream)
    stays.stalled = True
    leaves.send(frame(BINARY, bytes(180_000), key=key))
    world.until(lambda: line.stashed and not leaves.unsent)
    leave(leaves)
    world.later(21.0)
    assert line.ended is None
    return line


@_HEARTBEATS
@_LEAVING
@_KERNEL
@pytest.mark.parametrize("key", [KEY, None], ids=["browser", "upstream"])
def test_a_silent_peer_does_not_hold_the_slot_of_one_that_has_left(
    make_world: MakeWorld, key: bytes | None, unix: bool, leave: Callable[[Peer], None], heartbeat: float
) -> None:
    # Over TCP the kernel would give up on the silent one; on a Unix socket it never does.
    world = make_world(unix=unix, heartbeat=heartbeat, closing=5.0)
    line = _leave_before_all_is_taken(world, leave, key)
    world.later(61.0)
    world.later(61.0)  # over TCP, what is acknowledged late may count as taken at the first look
    assert line.ended is not None
    assert line.ended.end == (End.CLIENT_ABORTED if key else End.UPSTREAM_ABORTED)


def test_a_silent_peer_behind_one_that_has_timed_out_does_not_hide_that(make_world: MakeWorld) -> None:
    world = make_world(closing=5.0)
    sockets: list[socket.socket] = []
    line = world.open(limit=1 << 30, receive=4096, each_socket=lambda ours: sockets.append(ours.dup()))
    with sockets[0] as ours, sockets[1]:
        ours.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 300)
    line.browser.stalled = line.upstream.stalled = True
    line.browser.send(frame(BINARY, bytes(8_000_000), key=KEY))
    session = world.relay.sessions[line.id]
    world.until(lambda: session.inbound.stashed)
    line.upstream.send(frame(BINARY, bytes(30_000)))  # which the browser neither takes nor refuses
    world.until(lambda: session.inbound.left)
    assert not session.outbound.stashed
    world.later(61.0)
    world.later(6.0)
    assert line.ended is not None
    assert line.ended.end == End.CLIENT_TIMEOUT


@_KERNEL
def test_a_peer_that_is_seen_to_leave_twice_does_not_shorten_the_time_of_the_other(
    make_world: MakeWorld, unix: bool
) -> None:
    # First by its end, and then by a heartbeat that cannot be written.
    world = make_world(unix=unix, heartbeat=90.0, closing=5.0)
    line = _leave_before_all_is_taken(world)  # seen at 0
    inbound = world.relay.sessions[line.id].inbound
    untaken = inbound.stashed + queued(inbound.sink)

    def some_is_taken() -> bool:
        line.upstream.take(60_000)  # perhaps not the last time: a kernel may tell late that there is room
        return inbound.stashed + queued(inbound.sink) < untaken

    world.until(some_is_taken)
    world.later(61.0)  # 82: looked at, with some taken since 0
    world.later(10.0)  # 92: a heartbeat
    world.later(45.0)  # 137: silent for 55 seconds only
    assert world.relay.sessions[line.id].end is None
    world.later(10.0)
    world.later(61.0)  # over TCP, what is acknowledged late may count as taken at the first look
    world.later(6.0)
    assert [report.end for report in world.reports] == [End.CLIENT_ABORTED]


@_HEARTBEATS
@_LEAVING
@pytest.mark.parametrize("idle", [0.0, 80.0])
def test_an_upstream_that_is_slow_to_take_what_a_browser_said_before_it_left_gets_all_of_it(
    make_world: MakeWorld, idle: float, leave: Callable[[Peer], None], heartbeat: float
) -> None:
    world = make_world(unix=True, heartbeat=heartbeat, idle=idle, closing=5.0)
    line = _leave_before_all_is_taken(world, leave)
    for _ in range(2):
        line.upstream.take(60_000)
        world.quiet()
        world.later(61.0)
        assert line.ended is None
    line.upstream.stalled = False
    world.until(lambda: line.upstream.over)
    assert [said.opcode for said in line.upstream.frames] == [BINARY, CLOSE]
