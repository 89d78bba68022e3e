"""Other heartbeats, idle times and closing handshakes for a forwarder that carries sessions already.

What each timer does when it is due is in test_control_frames.py, test_relay_closing.py, test_relay_idle.py
and test_close_table.py.
"""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from bascule.forwarder.timers import Intervals, Timers
from bascule.protocol.closing import End
from tests.support.frames import PONG, TEXT, close, frame

if TYPE_CHECKING:
    from bascule.forwarder.session import Session
    from tests.forwarder.conftest import MakeWorld
    from tests.support.relaying import Line, World

LONG = 1e5


def change(
    world: World, *, heartbeat: float = 0.0, pong: float = 0.0, idle: float = 0.0, closing: float = LONG
) -> None:
    world.quiet()
    world.relay.change(Intervals(heartbeat, pong, idle, closing))


def beats(line: Line) -> int:
    return sum(found.opcode == PONG for found in line.browser.frames)


def test_heartbeats_begin_in_sessions_that_had_none(make_world: MakeWorld) -> None:
    world = make_world(closing=LONG)
    lines = [world.open() for _ in range(3)]
    change(world, heartbeat=10.0)

    world.later(11)

    assert [beats(line) for line in lines] == [1, 1, 1]


@pytest.mark.parametrize("before", [0.0, 1e15], ids=["none", "as-good-as-none"])
def test_they_are_not_all_sent_at_the_same_moment(make_world: MakeWorld, before: float) -> None:
    world = make_world(heartbeat=before, closing=LONG)
    for _ in range(20):
        world.open()

    change(world, heartbeat=100.0)

    now = world.engine.now
    due = sorted(session.beat_at - now for session in world.relay.sessions.values())
    assert [round(at) for at in due] == list(range(5, 101, 5))


def test_heartbeats_come_sooner_and_as_far_apart_as_they_were(make_world: MakeWorld) -> None:
    world = make_world(heartbeat=1000.0, closing=LONG)
    first, second = world.open(), world.open()
    world.relay.sessions[first.id].beat_at -= 500

    change(world, heartbeat=100.0)

    now = world.engine.now
    due = [world.relay.sessions[line.id].beat_at - now for line in (first, second)]
    assert [round(at, -1) for at in due] == [50, 100]
    world.later(60)
    assert (beats(first), beats(second)) == (1, 0)
    world.later(45)
    assert (beats(first), beats(second)) == (1, 1)


def test_heartbeats_end(make_world: MakeWorld) -> None:
    world = make_world(heartbeat=10.0, closing=LONG)
    line = world.open()
    world.later(11)
    assert beats(line) == 1

    change(world)

    world.later(1000)
    assert beats(line) == 1


def test_a_session_that_has_been_silent_for_longer_than_the_new_idle_time_ends(make_world: MakeWorld) -> None:
    world = make_world(idle=10_000.0, closing=LONG)
    line = world.open()
    session = world.relay.sessions[line.id]
    line.upstream.send(frame(TEXT, b"hello"))
    world.until(lambda: line.browser.frames)
    for flow in (session.inbound, session.outbound):
        flow.active_at -= 60
    change(world, idle=1000.0)
    world.later(100)
    assert session.end is None

    change(world, idle=30.0)

    world.later(2)
    assert session.end is End.IDLE


def test_nobody_is_idle_any_more_where_no_time_is_set(make_world: MakeWorld) -> None:
    world = make_world(idle=10.0, closing=LONG)
    line = world.open()

    change(world)

    world.later(1000)
    assert world.relay.sessions[line.id].end is None


def test_a_closing_handshake_has_the_new_time(make_world: MakeWorld) -> None:
    world = make_world(closing=10.0)
    line = world.open()

    change(world, closing=1000.0)

    line.upstream.send(close(4000))
    world.until(lambda: line.browser.frames)
    world.later(500)
    assert line.id in world.relay.sessions
    world.later(600)
    assert not world.relay.sessions


@pytest.mark.parametrize(("before", "after"), [(1000.0, 10.0), (10.0, 1000.0)])
def test_a_close_that_was_sent_already_has_the_new_time_too(
    make_world: MakeWorld, before: float, after: float
) -> None:
    world = make_world(closing=before)
    line = world.open()
    line.upstream.send(close(4000))
    world.until(lambda: line.browser.frames)

    change(world, closing=after)

    world.later(0.9 * after)
    assert line.id in world.relay.sessions
    world.later(before / 5 + 0.2 * after)  # or as late as it looks again
    assert not world.relay.sessions


def beat_times(seconds: float, until: float, late: float) -> list[float]:
    """Return when one session's heartbeats are sent by a loop that is late by as much each time."""
    session = SimpleNamespace(id=1, end=None, beat_at=0.0)
    timers = Timers({1: cast("Session", session)}, Intervals(seconds, 0.0, 0.0, LONG))
    now = 123.37
    timers.begin(cast("Session", session), now)
    times = []
    while (now := timers.next_at + late) < until:
        times += [now for _ in timers.beats(now)]
    return times


@pytest.mark.parametrize("seconds", [0.1, 2.0, 20.0, 58.0, 90.0])
@pytest.mark.parametrize("late", [0.0, 0.004])
def test_heartbeats_keep_their_rate(seconds: float, late: float) -> None:
    times = beat_times(seconds, 123.37 + 50 * seconds, late)

    assert len(times) == 49
    assert times[-1] - times[0] == pytest.approx(48 * seconds, abs=min(1.0, max(0.01, seconds / 20)))


def test_heartbeats_that_were_missed_are_not_made_up_for() -> None:
    times = beat_times(20.0, 2000.0, late=70.0)

    assert all(after - before >= 70.0 for before, after in itertools.pairwise(times))
