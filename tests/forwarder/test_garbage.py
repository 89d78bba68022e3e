"""The relay makes no cyclic garbage: the forwarder freezes what is alive at the start and means it."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

import pytest

from bascule.protocol.closing import End
from tests.support.frames import KEY, PING, TEXT, close, frame

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.forwarder.conftest import MakeWorld
    from tests.support.relaying import World


@pytest.fixture
def garbage() -> Iterator[list[object]]:
    """Collect by hand, and keep what only the collector could free."""
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        yield gc.garbage
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


def _live_and_die(world: World, number: int) -> None:
    line = world.open(inbound=frame(TEXT, b"early", key=KEY))
    line.upstream.send(frame(PING, b"p") + frame(TEXT, b"x" * 5000))
    line.browser.send(frame(PING, b"p", key=KEY) + frame(TEXT, b"y" * 5000, key=KEY))
    world.turn()
    world.turn()
    world.later(21.0)
    match number % 6:
        case 0:
            line.browser.send(close(1000, b"bye", KEY))
        case 1:
            line.upstream.send(close(1000, b"bye"))
        case 2:
            line.browser.reset()
        case 3:
            line.upstream.send(frame(TEXT, b"masked", key=KEY))
        case 4:
            world.relay.end(line.id, End.ADMIN, 4000, b"because")
        case _:
            line.upstream.close()
    world.turn()
    line.browser.close()
    line.upstream.close()
    world.until(lambda: not world.relay.sessions)
    world.lines.clear()
    world.reports.clear()


def test_three_hundred_sessions_leave_nothing_for_the_collector(
    make_world: MakeWorld, garbage: list[object]
) -> None:
    world = make_world(unix=True, heartbeat=20.0)
    _live_and_die(world, 0)  # what is made once
    gc.collect()
    garbage.clear()
    for number in range(300):
        _live_and_die(world, number)
    gc.collect()
    ours = [thing for thing in garbage if type(thing).__module__.startswith("bascule")]
    assert ours == []
    assert len(garbage) == 0
