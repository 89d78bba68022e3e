"""What a session costs in the forwarder while nothing happens on it."""

from __future__ import annotations

import tracemalloc
from typing import TYPE_CHECKING

import pytest

from tests.support.frames import KEY, TEXT, frame

if TYPE_CHECKING:
    from tests.forwarder.conftest import MakeWorld
    from tests.support.relaying import Line, World

SESSIONS = 50
COMPILED, PURE = 570, 970
"""Bytes of Python's allocators that an idle session may take, by the build: a little more than it does."""


def held_by_the_forwarder() -> int:
    """Return the bytes that the forwarder's own code has allocated since tracing began."""
    ours = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(True, "*/bascule/forwarder/*")])
    return sum(statistic.size for statistic in ours.statistics("filename"))


def idling(world: World) -> list[Line]:
    """Open sessions, and let each exchange a message and have a heartbeat."""
    lines = [world.open() for _ in range(SESSIONS)]
    for line in lines:
        line.browser.send(frame(TEXT, b"print(1)", key=KEY))
        line.upstream.send(frame(TEXT, b"1"))
    world.until(lambda: all(line.browser.received and line.upstream.received for line in lines))
    world.later(20.0)
    return lines


def bytes_of_an_idle_session(world: World) -> float:
    """Return the memory of one of many idle sessions."""
    for line in idling(world):  # what is made once, is made for these
        line.cut()
    tracemalloc.start()
    try:
        idling(world)
        return held_by_the_forwarder() / SESSIONS
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(("pong", "besides"), [(0.0, 0), (60.0, 170)], ids=["heartbeats", "pings"])
def test_an_idle_session_takes_little_memory(make_world: MakeWorld, pong: float, besides: int) -> None:
    world = make_world(unix=True, heartbeat=20.0, pong=pong)
    most = COMPILED if world.engine.name == "compiled" else PURE
    assert bytes_of_an_idle_session(world) <= most + besides
