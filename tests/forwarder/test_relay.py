"""Adoption, closing handshakes, deadlines and counters of the relay."""

from __future__ import annotations

import gc
import math
import os
import socket
import time
from typing import TYPE_CHECKING, Any

import pytest

from bascule.handover.counters import FRAMES_BASE, ForwarderWord
from bascule.protocol.closing import CLOSE_TABLE, End
from tests.support.frames import BINARY, CLOSE, KEY, PING, TEXT, close, frame, header

if TYPE_CHECKING:
    from tests.forwarder.conftest import MakeWorld
    from tests.support.relaying import Line, World


ANSWER = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"


def _reset_by_its_peer(connection: socket.socket) -> None:
    connection.shutdown(socket.SHUT_RDWR)


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


# -- adoption -------------------------------------------------------------------------------------


def test_bytes_the_gateway_had_read_come_first(make_world: MakeWorld) -> None:  # I12
    world = make_world()
    early_in, early_out = frame(TEXT, b"early", key=KEY), frame(TEXT, b"first")
    line = world.open(inbound=early_in, outbound=early_out)
    line.browser.send(frame(TEXT, b"later", key=KEY))
    line.upstream.send(frame(TEXT, b"second"))
    world.until(lambda: len(line.browser.frames) == len(line.upstream.frames) == 2)
    assert [found.payload for found in line.upstream.frames] == [b"early", b"later"]
    assert [found.payload for found in line.browser.frames] == [b"first", b"second"]


def test_the_answer_to_the_handshake_goes_out_ahead_of_every_frame(make_world: MakeWorld) -> None:
    world = make_world()
    line = world.open(answer=ANSWER, outbound=frame(TEXT, b"first"))
    line.upstream.send(frame(TEXT, b"second"))
    expected = ANSWER + frame(TEXT, b"first") + frame(TEXT, b"second")
    world.until(lambda: bytes(line.browser.received) == expected)


def test_an_answer_that_is_not_taken_at_once_stays_ahead_of_the_frames(make_world: MakeWorld) -> None:
    world = make_world(window=4096, heartbeat=0.01)
    answer, first = ANSWER[:-2] + b"X-Long: " + b"x" * 60_000 + b"\r\n\r\n", frame(BINARY, b"y" * 10_000)
    line = world.open(answer=answer, outbound=first, send=4096, receive=4096)
    assert world.word(ForwarderWord.STASHED_BYTES) > 0
    world.later(0.02)  # a heartbeat is due, and waits
    line.upstream.send(frame(TEXT, b"second"))
    whole = answer + first
    world.until(lambda: bytes(line.browser.received[: len(whole)]) == whole)
    world.until(lambda: frame(TEXT, b"second") in line.browser.received[len(whole) :])
    assert world.word(ForwarderWord.STASHED_BYTES) == 0


def test_an_answer_to_a_browser_that_has_gone_ends_the_session(make_world: MakeWorld) -> None:
    world = make_world()
    line = world.open(answer=ANSWER, outbound=frame(TEXT, b"x"), each_socket=_reset_by_its_peer)
    world.until(lambda: line.ended)


def test_early_bytes_may_end_inside_a_header(make_world: MakeWorld) -> None:
    world = make_world()
    data = frame(BINARY, b"x" * 300, key=KEY)
    line = world.open(inbound=data[:3])
    line.browser.send(data[3:])
    world.until(lambda: bytes(line.upstream.received) == data)


def test_a_ping_in_the_early_bytes_is_answered(make_world: MakeWorld) -> None:
    world = make_world()
    line = world.open(outbound=frame(PING, b"already"))
    world.until(lambda: line.upstream.frames)
    assert line.upstream.frames[0].payload == b"already"


def test_early_bytes_up_to_their_bound_pass(make_world: MakeWorld) -> None:
    world = make_world(window=4096)
    data = frame(BINARY, b"x" * (65536 - 14), key=KEY)
    line = world.open(inbound=data)
    world.until(lambda: bytes(line.upstream.received) == data)


def test_a_fault_in_the_early_bytes_ends_the_session(make_world: MakeWorld) -> None:
    world = make_world()
    line = world.open(inbound=frame(TEXT, b"unmasked"), outbound=frame(TEXT, b"hello"))
    world.until(lambda: len(line.browser.frames) == 2 and line.upstream.frames)
    assert [line.browser.frames[1].code, line.upstream.frames[0].code] == [1002, 1001]


def test_a_close_in_the_early_bytes_passes(make_world: MakeWorld) -> None:
    world = make_world()
    line = world.open(outbound=close(4000, b"no"))
    world.until(lambda: line.browser.frames)
    assert line.browser.frames[0].code == 4000


def test_a_peer_that_is_gone_before_its_adoption_ends_the_session(make_world: MakeWorld) -> None:
    world = make_world()
    line = world.open()
    line.browser.reset()
    world.until(lambda: line.upstream.frames)
    line.upstream.close()
    world.until(lambda: line.ended)


# -- rows -----------------------------------------------------------------------------------------


def test_a_row_says_what_a_session_has_moved(make_world: MakeWorld) -> None:
    world = make_world()
    line = world.open(kind=1)
    line.browser.send(frame(TEXT, b"12345", key=KEY) * 3)
    line.upstream.send(frame(BINARY, b"x" * 1000))
    world.until(lambda: len(line.upstream.frames) == 3 and line.browser.frames)
    (row,) = world.relay.live(9)
    assert (row.request, row.id, row.kind, row.tag) == (9, line.id, 1, b"tag")
    assert (row.frames_inbound, row.payload_inbound) == (3, 15)
    assert (row.frames_outbound, row.payload_outbound) == (1, 1000)
    assert 0 <= row.idle < 5


def test_a_session_that_is_over_has_no_row(make_world: MakeWorld) -> None:
    world = make_world()
    line = world.open()
    _cut(world, line)
    assert world.relay.live(1) == []


def _cut(world: World, line: Line) -> None:
    """End a session the quick way."""
    line.browser.close()
    line.upstream.close()
    world.until(lambda: line.ended)


# -- ending on purpose ----------------------------------------------------------------------------


def test_end_tells_whether_it_was_this_call(make_world: MakeWorld) -> None:
    world = make_world()
    line = world.open()
    assert world.relay.end(line.id, End.ADMIN, 4321, b"because") is True
    assert world.relay.end(line.id, End.DRAIN) is False
    assert world.relay.end(999, End.DRAIN) is False
    world.until(lambda: line.browser.frames and line.upstream.frames)
    assert [(f.code, f.reason) for f in line.browser.frames] == [(4321, b"because")]
    assert [(f.code, f.reason) for f in line.upstream.frames] == [(1001, b"Closed by an administrator")]


def test_the_first_end_wins(make_world: MakeWorld) -> None:
    world = make_world()
    line = world.open()
    line.upstream.send(close(4000, b"mine"))
    world.until(lambda: line.browser.frames)
    assert world.relay.end(line.id, End.DRAIN) is False
    _cut(world, line)
    assert line.ended is not None
    assert (line.ended.end, line.ended.code) == (End.UPSTREAM_CLOSED, 4000)


@pytest.mark.parametrize("answer", [close(1012, key=KEY), b""], ids=["answers", "just-leaves"])
def test_a_drained_browser_may_answer_or_leave(make_world: MakeWorld, answer: bytes) -> None:
    world = make_world()
    line = world.open()
    world.relay.end(line.id, End.DRAIN)
    world.until(lambda: line.browser.frames and line.upstream.frames)
    if answer:
        line.browser.send(answer)
    line.browser.close()
    line.upstream.close()
    world.until(lambda: line.ended)
    assert line.ended is not None
    assert line.ended.end == End.DRAIN


# -- the closing handshake ------------------------------------------------------------------------


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
def test_an_upstream_that_answers_a_close_with_a_fault_is_answered_for(
    make_world: MakeWorld, fault: bytes
) -> None:
    world = make_world()
    line = world.open()
    line.browser.send(close(4002, b"bye", KEY))
    world.until(lambda: line.upstream.frames)
    line.upstream.send(fault)
    world.until(lambda: line.browser.frames)
    assert [(f.code, f.reason) for f in line.browser.frames] == [(4002, b"bye")]
    line.upstream.close()
    line.browser.close()
    world.until(lambda: line.ended)
    assert line.ended is not None
    assert line.ended.end == End.CLIENT_CLOSED


def test_the_browsers_connection_is_ended_by_us_and_the_upstreams_by_the_upstream(
    make_world: MakeWorld,
) -> None:
    # A server closes first (§7.1.1): we do towards the browser, the upstream does towards us.
    world = make_world()
    line = world.open()
    line.browser.send(close(1000, key=KEY))
    world.until(lambda: line.upstream.frames)
    line.upstream.send(close(1000))
    world.until(lambda: line.browser.ended, "we end the browser's connection")
    world.quiet()
    assert not line.upstream.ended
    line.upstream.close()
    line.browser.close()
    world.until(lambda: line.ended)


def test_an_upstream_that_leaves_without_an_answer_is_answered_for(make_world: MakeWorld) -> None:
    world = make_world()
    line = world.open()
    line.browser.send(close(4002, b"bye", KEY))
    world.until(lambda: line.upstream.frames)
    line.upstream.close()
    world.until(lambda: line.browser.frames)
    assert [(f.code, f.reason) for f in line.browser.frames] == [(4002, b"bye")]
    line.browser.close()
    world.until(lambda: line.ended)
    assert line.ended is not None
    assert line.ended.end == End.CLIENT_CLOSED


def test_a_browser_that_leaves_without_an_answer_is_answered_for(make_world: MakeWorld) -> None:
    world = make_world()
    line = world.open()
    line.upstream.send(close(4002, b"bye"))
    world.until(lambda: line.browser.frames)
    line.browser.close()
    world.until(lambda: line.upstream.frames)
    assert [(f.code, f.reason) for f in line.upstream.frames] == [(4002, b"bye")]


def test_closes_that_cross_both_pass(make_world: MakeWorld) -> None:
    world = make_world()
    line = world.open()
    line.browser.send(close(4001, key=KEY))
    line.upstream.send(close(4002))
    world.until(lambda: line.browser.frames and line.upstream.frames)
    assert line.browser.frames[0].code == 4002
    assert line.upstream.frames[0].code == 4001
    _cut(world, line)


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
    line.browser.close()
    line.upstream.close()
    world.until(lambda: line.ended)
    assert line.ended is not None
    assert line.ended.end == (End.UPSTREAM_CLOSED if first == close(4321) else End.CLIENT_CLOSED)


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
    assert not world.relay.end(line.id, End.DRAIN, within=0.5)
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


def test_our_close_and_the_peers_may_cross_and_only_one_goes_out(make_world: MakeWorld) -> None:  # I2
    world = make_world()
    line = world.open()
    world.relay.end(line.id, End.DRAIN)
    line.upstream.send(close(4001))
    line.browser.send(close(4002, key=KEY))
    world.quiet()
    assert [f.code for f in line.browser.frames] == [1012]
    assert [f.code for f in line.upstream.frames] == [1001]
    _cut(world, line)
    assert line.ended is not None
    assert line.ended.end == End.DRAIN


def test_data_behind_our_close_is_read_and_dropped(make_world: MakeWorld) -> None:
    world = make_world()
    line = world.open()
    world.relay.end(line.id, End.DRAIN)
    line.upstream.send(frame(TEXT, b"late") * 100 + close(1001))
    line.browser.send(frame(TEXT, b"late", key=KEY) * 100 + close(1012, key=KEY))
    world.until(lambda: line.browser.ended and line.upstream.ended, "both answers were found behind the data")
    assert [f.opcode for f in line.browser.frames] == [CLOSE]
    assert [f.opcode for f in line.upstream.frames] == [CLOSE]


def test_a_half_closed_browser_counts_as_gone(make_world: MakeWorld) -> None:
    world = make_world()
    line = world.open()
    line.browser.half_close()
    world.until(lambda: line.upstream.frames)
    assert line.upstream.frames[0].code == 1001
    line.upstream.close()
    line.browser.close()
    world.until(lambda: line.ended)
    assert line.ended is not None
    assert line.ended.end == End.CLIENT_ABORTED


def test_an_upstream_that_sends_its_last_words_and_ends_is_heard_out(make_world: MakeWorld) -> None:
    world = make_world()
    line = world.open()
    words = frame(TEXT, b"last words") * 50
    line.upstream.send(words)
    line.upstream.half_close()
    world.until(lambda: len(line.browser.frames) == 51)
    assert bytes(line.browser.received).startswith(words)
    assert line.browser.frames[-1].code == 1014


def test_of_a_browser_that_is_left_inside_a_frame_no_close_is_reported(make_world: MakeWorld) -> None:
    world = make_world()
    line = world.open()
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


def test_a_reset_that_is_noticed_by_writing_is_an_abort(make_world: MakeWorld) -> None:
    world = make_world()
    line = world.open()
    line.browser.reset()
    line.upstream.send(frame(TEXT, b"x" * 1000) * 100)
    world.until(lambda: line.upstream.frames)
    assert line.upstream.frames[-1].code == 1001
    line.upstream.close()
    world.until(lambda: line.ended)
    assert line.ended is not None
    assert line.ended.end == End.CLIENT_ABORTED


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
    line.browser.close()
    line.upstream.close()
    world.until(lambda: line.ended)
    assert line.ended is not None
    assert line.ended.end == End.UPSTREAM_ABORTED


def test_an_upstream_whose_close_comes_with_its_reset_is_no_abort(make_world: MakeWorld) -> None:
    # The write to it fails first; what it had sent is read before the row is chosen.
    world = make_world()
    line = world.open()
    line.upstream.send(close(4000, b"I said so"))
    line.upstream.close()
    line.browser.send(frame(TEXT, b"typing", key=KEY))
    world.until(lambda: line.browser.frames)
    assert line.browser.frames[0].code == 4000
    line.browser.close()
    world.until(lambda: line.ended)
    assert line.ended is not None
    assert line.ended.end == End.UPSTREAM_CLOSED


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


def _leave_before_all_is_taken(world: World) -> Line:
    """Open a session whose browser leaves while its upstream takes nothing; a heartbeat finds that out."""
    line = world.open(send=8192)
    line.upstream.stalled = True
    line.browser.send(frame(BINARY, bytes(180_000), key=KEY))
    world.until(lambda: line.stashed and not line.browser.unsent)
    line.browser.close()
    world.later(21.0)
    assert line.ended is None
    return line


def test_a_silent_upstream_does_not_hold_the_slot_of_a_browser_that_has_left(make_world: MakeWorld) -> None:
    # Over TCP the kernel would give up on the upstream; on a Unix socket it never does.
    world = make_world(unix=True, heartbeat=20.0, closing=5.0)
    line = _leave_before_all_is_taken(world)
    world.later(61.0)
    world.later(6.0)
    assert line.ended is not None
    assert line.ended.end == End.CLIENT_ABORTED


@pytest.mark.parametrize("idle", [0.0, 80.0])
def test_an_upstream_that_is_slow_to_take_what_a_browser_said_before_it_left_gets_all_of_it(
    make_world: MakeWorld, idle: float
) -> None:
    world = make_world(unix=True, heartbeat=20.0, idle=idle, closing=5.0)
    line = _leave_before_all_is_taken(world)
    for _ in range(2):
        line.upstream.take(60_000)
        world.quiet()
        world.later(61.0)
        assert line.ended is None
    line.upstream.stalled = False
    world.until(lambda: line.upstream.over)
    assert [said.opcode for said in line.upstream.frames] == [BINARY, CLOSE]


# -- idleness -------------------------------------------------------------------------------------


def test_data_in_either_direction_keeps_a_session_alive(make_world: MakeWorld) -> None:
    world = make_world(idle=30.0)
    line = world.open()
    start = world.relay.live(0)[0]
    assert start.idle < 5
    line.upstream.send(frame(TEXT, b"tick"))
    world.until(lambda: line.browser.frames)
    world.later(20.0)
    assert line.browser.frames[-1].opcode == TEXT


@pytest.mark.parametrize("timer", ["idle", "heartbeat"])
def test_a_session_that_ended_is_forgotten_long_before_its_timers_would_have_been_due(
    make_world: MakeWorld, timer: str
) -> None:
    world = make_world(**{timer: 86_400.0})
    line = world.open()
    line.browser.close()
    line.upstream.close()
    world.until(lambda: line.ended)
    world.later(120)
    assert world.relay.next_at == math.inf


def test_a_timeout_of_a_day_is_a_day(make_world: MakeWorld) -> None:
    world = make_world(idle=86_400.0)
    line = world.open()
    for _ in range(24):
        world.later(3_599)
    assert not line.browser.frames
    world.later(30)
    assert line.browser.frames[0].code == 1012


@pytest.mark.parametrize("who", ["browser", "upstream"])
def test_what_came_while_we_were_held_up_is_read_before_a_session_counts_as_idle(
    make_world: MakeWorld, who: str
) -> None:
    world = make_world(idle=60.0)
    line = world.open()
    sender, receiver, key = (
        (line.browser, line.upstream, KEY) if who == "browser" else (line.upstream, line.browser, None)
    )
    data = frame(TEXT, b"not idle", key=key)
    sender.send(data)
    world.later(61.0)  # the loop did not turn meanwhile: the process was stopped
    assert bytes(receiver.received) == data
    sender.send(frame(PING, b"", key=key))  # is read, and does not count
    world.later(122.0)
    world.later(5.0)
    assert line.browser.frames[-1].code == 1012


@pytest.mark.parametrize("opcode", [PING, 0xA], ids=["pings", "pongs"])
def test_pings_and_pongs_do_not_keep_a_session_alive(make_world: MakeWorld, opcode: int) -> None:
    world = make_world(idle=30.0, heartbeat=10.0)
    line = world.open()
    before = world.relay.sessions[line.id].active_at
    line.upstream.send(frame(opcode, b"x"))
    line.browser.send(frame(opcode, b"x", key=KEY))
    world.quiet()
    world.later(11.0)
    assert world.relay.sessions[line.id].active_at == before
    world.later(25.0)
    assert line.browser.frames[-1].code == 1012
    assert line.browser.frames[-1].reason == b"Idle for longer than sessionIdleTimeoutMs"


def test_a_long_frame_in_progress_is_activity(make_world: MakeWorld) -> None:
    world = make_world(idle=30.0)
    line = world.open(limit=1 << 30)
    line.upstream.send(header(BINARY, 1 << 20))
    world.quiet()
    before = world.relay.sessions[line.id].active_at
    line.upstream.send(b"x")
    world.until(lambda: line.browser.received[-1:] == b"x")
    assert world.relay.sessions[line.id].active_at > before


@pytest.mark.parametrize("key", [KEY, None], ids=["inbound", "outbound"])
def test_a_peer_that_takes_a_frame_slowly_is_not_idle_and_one_that_takes_nothing_is(
    make_world: MakeWorld, key: bytes | None
) -> None:
    world = make_world(window=1 << 20, idle=30.0, unix=True)
    line = world.open(limit=1 << 30, send=4608)
    sender, receiver = (line.browser, line.upstream) if key else (line.upstream, line.browser)
    receiver.stalled = True
    sender.send(frame(BINARY, b"x" * 900_000, key=key))
    world.quiet()
    for _ in range(4):
        world.later(31.0)
        received = receiver.socket.recv(65536)
        assert received
        receiver.received += received
    assert line.ended is None
    assert line.stashed
    world.later(31.0)
    world.later(31.0)
    assert world.ended_as(End.IDLE) == 1


# -- counters -------------------------------------------------------------------------------------


def test_frames_and_payload_are_counted_by_direction_and_opcode(make_world: MakeWorld) -> None:
    world = make_world()
    line = world.open()
    line.browser.send(
        frame(TEXT, b"abc", key=KEY)
        + frame(0xA, b"", key=KEY)
        + frame(PING, b"", key=KEY)
        + close(1000, key=KEY)
    )
    line.upstream.send(frame(BINARY, b"x" * 10, fin=False) + frame(0, b"y" * 5))
    world.until(lambda: line.upstream.frames[-1:] and line.upstream.frames[-1].opcode == CLOSE)
    world.quiet()
    inbound = {n: int(world.words[FRAMES_BASE + n]) for n in range(16) if world.words[FRAMES_BASE + n]}
    outbound = {
        n: int(world.words[FRAMES_BASE + 16 + n]) for n in range(16) if world.words[FRAMES_BASE + 16 + n]
    }
    assert inbound == {0x1: 1, 0x8: 1, 0x9: 1, 0xA: 1}
    assert outbound == {0x0: 1, 0x2: 1}
    assert world.word(ForwarderWord.PAYLOAD_INBOUND) == 3
    assert world.word(ForwarderWord.PAYLOAD_OUTBOUND) == 15


@pytest.mark.parametrize(
    ("said", "label"),
    [(close(), "none"), (close(1000), "1000"), (close(3001), "3000-3999"), (close(4999), "4000-4999")],
    ids=["none", "1000", "3001", "4999"],
)
def test_close_codes_are_counted_by_who_said_them(make_world: MakeWorld, said: bytes, label: str) -> None:
    world = make_world()
    line = world.open()
    line.upstream.send(said)
    world.until(lambda: line.browser.frames)
    assert world.closes("upstream", label) == 1
    assert world.closes("proxy", label) == world.closes("browser", label) == 0


def test_a_close_of_ours_is_counted_once_for_the_browsers_side(make_world: MakeWorld) -> None:
    world = make_world()
    line = world.open()
    world.relay.end(line.id, End.DRAIN)
    world.until(lambda: line.browser.frames and line.upstream.frames)
    assert world.closes("proxy", "1012") == 1
    assert world.closes("proxy", "1001") == 0


# -- what is left behind --------------------------------------------------------------------------


def test_no_descriptor_is_left_after_a_hundred_sessions(make_world: MakeWorld) -> None:
    world = make_world()
    gc.collect()  # what earlier tests left is not ours to count
    before = _descriptors()
    for number in range(100):
        line = world.open()
        line.upstream.send(frame(TEXT, b"hello"))
        world.turn()
        getattr(line.browser, "reset" if number % 2 else "close")()
        line.upstream.close()
        world.until(lambda: not world.relay.sessions)
        world.lines.clear()
    assert _descriptors() == before
    assert world.word(ForwarderWord.OPEN) == 0
    assert len(world.reports) == 100
