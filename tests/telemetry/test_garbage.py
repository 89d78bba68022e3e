"""Time in the cycle collector is measured."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

import pytest

from bascule.telemetry.garbage import CollectorClock

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def clock() -> Iterator[CollectorClock]:
    times = iter(range(1_000_000))
    others = gc.callbacks[:]
    yield CollectorClock(lambda: float(next(times)))
    gc.callbacks[:] = others


def test_each_collection_adds_the_time_it_took(clock: CollectorClock) -> None:
    clock.install()

    gc.collect()
    gc.collect()

    assert clock.seconds >= 2.0


def test_a_collection_that_was_running_at_the_start_is_left_out(clock: CollectorClock) -> None:
    clock.install()
    gc.callbacks[-1]("stop", {})
    assert clock.seconds == 0.0
