"""What keeps a session alive, and when it counts as idle."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest

from bascule.protocol.closing import End
from tests.support.frames import BINARY, KEY, PING, TEXT, frame, header

if TYPE_CHECKING:
    from tests.forwarder.conftest import MakeWorld


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
    line.cut()
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
