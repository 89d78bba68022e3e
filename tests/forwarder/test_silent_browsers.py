"""Heartbeats that browsers have to answer (`limits.pongTimeout`): who has not is gone, and frees its slot."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bascule.forwarder.timers import Intervals
from bascule.handover.counters import FRAMES_BASE, ForwarderWord, round_trips_of
from bascule.protocol.closing import End
from bascule.telemetry.roundtrips import ROUND_TRIPS
from tests.support.frames import BINARY, CLOSE, CONTINUATION, KEY, PING, PONG, TEXT, frame, header

if TYPE_CHECKING:
    from tests.forwarder.conftest import MakeWorld
    from tests.support.relaying import Line, World

BEAT, ANSWER, STEP = 20.0, 60.0, 4.0
LATE = 3 * STEP
"""Seconds by which timers may be late here: by a step, or a slot of their wheel."""
PAYLOAD = b"bascule"
ASKED = frame(PING, PAYLOAD)
ANSWERED = frame(PONG, PAYLOAD, key=KEY)


@pytest.fixture
def world(make_world: MakeWorld) -> World:
    return make_world(heartbeat=BEAT, pong=ANSWER, closing=1e5)


def pass_by(world: World, seconds: float) -> None:
    """Let time pass in steps that are shorter than what is measured with them."""
    while seconds > 0:
        world.later(min(seconds, STEP))
        seconds -= STEP


def has_ended(line: Line) -> bool:
    session = line.world.relay.sessions.get(line.id)
    return session is None or session.end is not None


# -- who is asked, and how ------------------------------------------------------------------------


def test_a_heartbeat_is_a_ping(world: World) -> None:
    line = world.open()
    world.later(BEAT + 1)
    assert bytes(line.browser.received) == ASKED
    assert bytes(line.upstream.received) == b""
    assert world.word(ForwarderWord.HEARTBEATS) == 1


def test_the_answer_is_counted_and_not_passed_on(world: World) -> None:
    line = world.open()
    one, two = (frame(TEXT, text, key=KEY) for text in (b"one", b"two"))
    line.browser.send(ANSWERED + one + ANSWERED + ANSWERED + two + ANSWERED)
    world.until(lambda: len(line.upstream.frames) == 2)
    world.quiet()
    assert bytes(line.upstream.received) == one + two
    assert world.words[FRAMES_BASE + PONG] == 4


def test_the_answer_is_cut_out_from_between_fragments(world: World) -> None:
    line = world.open()
    begin = frame(TEXT, b"a", fin=False, key=KEY)
    end = frame(CONTINUATION, b"b", key=KEY)
    for byte in begin + ANSWERED + end:
        line.browser.send(bytes([byte]))
        world.turn()
    world.until(lambda: len(line.upstream.frames) == 2)
    assert bytes(line.upstream.received) == begin + end


@pytest.mark.parametrize("payload", [b"", b"bascul", b"basculer", b"BASCULE", b"x" * 125])
def test_another_pong_of_the_browser_passes_unchanged(world: World, payload: bytes) -> None:
    line = world.open()
    pong = frame(PONG, payload, key=KEY)
    line.browser.send(pong)
    world.until(lambda: line.upstream.received)
    assert bytes(line.upstream.received) == pong


def test_a_pong_of_the_upstream_passes_whatever_it_says(world: World) -> None:
    line = world.open()
    line.upstream.send(frame(PONG, PAYLOAD))
    world.until(lambda: line.browser.received)
    assert bytes(line.browser.received) == frame(PONG, PAYLOAD)


# -- how long it took ----------------------------------------------------------------------------


def round_trips(world: World) -> list[int]:
    return list(round_trips_of(world.words))


def test_each_ping_that_is_answered_is_counted_with_the_time_that_took(world: World) -> None:
    line = world.open()
    session = world.relay.sessions[line.id]
    for _ in range(3):
        pass_by(world, BEAT + STEP)
        assert session.asking is not None
        session.asking.pinged_at = world.engine.now - 0.07  # the clock of the relay is ahead here
        line.browser.send(ANSWERED)
        world.quiet()
    assert ROUND_TRIPS.reading(round_trips(world)).cumulative[-1] == 3
    assert 0.07 <= session.round_trip < 10
    (live,) = world.relay.live(0)
    assert live.round_trip == session.round_trip


def test_a_pong_without_a_ping_takes_no_time(world: World) -> None:
    line = world.open()
    line.browser.send(ANSWERED)
    world.quiet()
    assert sum(round_trips(world)) == 0
    (live,) = world.relay.live(0)
    assert live.round_trip < 0


def test_a_late_answer_counts_from_the_first_ping(world: World) -> None:
    line = world.open()
    pass_by(world, BEAT + STEP)
    asking = world.relay.sessions[line.id].asking
    assert asking is not None
    first = asking.pinged_at
    pass_by(world, BEAT)
    assert len(line.browser.frames) == 2
    assert asking.pinged_at == first


# -- who stays ------------------------------------------------------------------------------------


def test_a_browser_that_answers_stays_for_hours(world: World) -> None:
    line = world.open()
    for _ in range(180):
        world.later(BEAT)
        line.browser.send(ANSWERED)
        world.quiet()
    assert not has_ended(line)


@pytest.mark.parametrize("said", [frame(TEXT, b"x", key=KEY), frame(PING, b"alive?", key=KEY)])
def test_so_does_one_that_sends_anything_else_of_its_own(world: World, said: bytes) -> None:
    line = world.open()
    for _ in range(20):
        pass_by(world, ANSWER - BEAT)
        line.browser.send(said)
        world.quiet()
    assert not has_ended(line)


def test_so_does_one_whose_upload_never_ends(world: World) -> None:
    line = world.open(limit=1 << 30)
    line.browser.send(header(BINARY, 1 << 29, key=KEY))
    for _ in range(20):
        pass_by(world, ANSWER - BEAT)
        line.browser.send(b"x" * 100)
        world.quiet()
    assert not has_ended(line)


def test_nothing_is_said_of_one_whose_answers_wait_behind_a_stalled_upstream(make_world: MakeWorld) -> None:
    world = make_world(heartbeat=BEAT, pong=ANSWER, closing=1e5, unix=True)
    line = world.open(send=4608)
    line.upstream.stalled = True
    data = frame(TEXT, b"x" * 1000, key=KEY) * 100
    line.browser.send(data + ANSWERED)
    world.until(lambda: line.stashed)
    pass_by(world, 10 * ANSWER)
    assert not has_ended(line)
    line.upstream.stalled = False
    world.until(lambda: bytes(line.upstream.received) == data)


def test_nothing_is_said_of_one_that_is_slow_to_take_what_came_before_the_ping(make_world: MakeWorld) -> None:
    world = make_world(heartbeat=BEAT, pong=ANSWER, closing=1e5, unix=True)
    line = world.open(send=4608)
    line.browser.stalled = True
    line.upstream.send(frame(TEXT, b"x" * 1000))
    world.quiet()
    pass_by(world, 10 * ANSWER)
    assert not has_ended(line)
    line.browser.stalled = False
    world.until(lambda: ASKED in line.browser.received)
    for _ in range(int(ANSWER / STEP)):  # another ping may be due at any moment
        line.browser.send(ANSWERED)
        world.quiet()
        world.later(STEP)
    assert not has_ended(line)


def test_nobody_has_to_answer_unless_asked_to(make_world: MakeWorld) -> None:
    world = make_world(heartbeat=BEAT)
    line = world.open()
    pass_by(world, 10 * ANSWER)
    assert {found.opcode for found in line.browser.frames} == {PONG}
    assert not has_ended(line)


# -- who is gone ----------------------------------------------------------------------------------


def test_a_silent_browser_is_gone_in_the_time_of_a_heartbeat_and_an_answer(world: World) -> None:
    line = world.open()
    pass_by(world, BEAT + ANSWER - STEP)
    assert not has_ended(line)
    pass_by(world, STEP + LATE)
    assert has_ended(line)
    (last,) = (found for found in line.browser.frames if found.opcode == CLOSE)
    assert (last.code, last.reason) == (1012, b"No answer to a ping within limits.pongTimeout")
    (told,) = line.upstream.frames
    assert (told.opcode, told.code, told.reason) == (CLOSE, 1001, b"The browser is gone")


def test_what_the_upstream_says_is_no_sign_of_the_browser(world: World) -> None:
    line = world.open()
    for _ in range(10):
        line.upstream.send(frame(TEXT, b"output"))
        world.later(BEAT / 2)
    assert has_ended(line)


def test_a_browser_that_answers_no_more_is_gone_too(world: World) -> None:
    line = world.open()
    for _ in range(10):
        pass_by(world, BEAT)
        line.browser.send(ANSWERED)
        world.quiet()
    pass_by(world, BEAT + ANSWER + LATE)
    assert has_ended(line)


def test_an_answer_just_before_the_next_ping_gives_no_extra_time(world: World) -> None:
    line = world.open()
    pass_by(world, 2 * BEAT - STEP)
    line.browser.send(ANSWERED)
    world.quiet()
    pass_by(world, BEAT + ANSWER + LATE)
    assert has_ended(line)


def test_time_runs_from_when_the_ping_went_out(world: World) -> None:
    line = world.open(limit=1 << 20)
    data = frame(BINARY, b"x" * 1000)
    line.upstream.send(data[:500])
    world.until(lambda: len(line.browser.received) == 500)
    pass_by(world, 10 * ANSWER)
    assert not has_ended(line)
    line.upstream.send(data[500:])
    world.until(lambda: ASKED in line.browser.received)
    # The engine's clock is the real one here, and the relay's is far ahead: it has been long enough.
    world.later(1)
    assert has_ended(line)


def test_an_answer_is_no_activity(make_world: MakeWorld) -> None:
    world = make_world(heartbeat=BEAT, pong=ANSWER, idle=500.0, closing=1e5)
    line = world.open()
    for _ in range(26):
        world.later(BEAT)
        line.browser.send(ANSWERED)
        world.quiet()
    assert world.relay.sessions[line.id].end is End.IDLE


# -- another configuration ------------------------------------------------------------------------


def test_browsers_are_asked_from_the_reload_on(make_world: MakeWorld) -> None:
    world = make_world(heartbeat=BEAT, closing=1e5)
    line = world.open()
    pass_by(world, 10 * ANSWER)
    world.relay.change(Intervals(BEAT, ANSWER, 0.0, 1e5))
    pass_by(world, BEAT + STEP)
    assert line.browser.frames[-1].opcode == PING
    assert not has_ended(line)
    pass_by(world, ANSWER + LATE)
    assert has_ended(line)


def test_browsers_are_asked_no_more_after_a_reload(world: World) -> None:
    line = world.open()
    pass_by(world, ANSWER)
    world.relay.change(Intervals(BEAT, 0.0, 0.0, 1e5))
    pass_by(world, 10 * ANSWER)
    assert line.browser.frames[-1].opcode == PONG
    assert not has_ended(line)


def test_more_time_holds_for_a_ping_that_is_out(world: World) -> None:
    line = world.open()
    pass_by(world, ANSWER)
    world.relay.change(Intervals(BEAT, 10 * ANSWER, 0.0, 1e5))
    pass_by(world, 9 * ANSWER)
    assert not has_ended(line)
    pass_by(world, 2 * ANSWER)
    assert has_ended(line)
