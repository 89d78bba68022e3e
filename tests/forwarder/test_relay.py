"""What the relay tells of its sessions: rows, counters, and nothing left behind."""

from __future__ import annotations

import gc
import os
from typing import TYPE_CHECKING

import pytest

from bascule.handover.counters import FRAMES_BASE, ForwarderWord
from bascule.protocol.closing import End
from tests.support.frames import BINARY, CLOSE, KEY, PING, TEXT, close, frame

if TYPE_CHECKING:
    from tests.forwarder.conftest import MakeWorld
    from tests.support.relaying import Line


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


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


def test_a_session_that_is_over_has_no_row(line: Line) -> None:
    world = line.world
    line.cut()
    assert world.relay.live(1) == []


def test_frames_and_payload_are_counted_by_direction_and_opcode(line: Line) -> None:
    world = line.world
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
def test_close_codes_are_counted_by_who_said_them(line: Line, said: bytes, label: str) -> None:
    world = line.world
    line.upstream.send(said)
    world.until(lambda: line.browser.frames)
    assert world.closes("upstream", label) == 1
    assert world.closes("proxy", label) == world.closes("browser", label) == 0


def test_a_close_of_ours_is_counted_once_for_the_browsers_side(line: Line) -> None:
    world = line.world
    world.relay.end(line.id, End.DRAIN)
    world.until(lambda: line.browser.frames and line.upstream.frames)
    assert world.closes("proxy", "1012") == 1
    assert world.closes("proxy", "1001") == 0


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
