"""Time in the cycle collector is measured."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

import pytest

from bascule.telemetry.garbage import CollectorClock

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def ticking() -> Iterator[tuple[CollectorClock, list[float]]]:
    times = iter(range(1_000_000))
    published: list[float] = []
    clock = CollectorClock(lambda: float(next(times)), published.append)
    yield clock, published
    clock.remove()


def test_each_collection_adds_the_time_it_took(ticking: tuple[CollectorClock, list[float]]) -> None:
    clock, published = ticking
    clock.install()

    gc.collect()
    gc.collect()

    assert clock.seconds >= 2.0
    assert published == [float(n + 1) for n in range(len(published))]


def test_nothing_is_measured_after_removal(ticking: tuple[CollectorClock, list[float]]) -> None:
    clock, _ = ticking
    clock.install()
    clock.remove()
    clock.remove()

    gc.collect()

    assert clock.seconds == 0.0


def test_a_collection_that_was_running_at_the_start_is_left_out() -> None:
    clock = CollectorClock(lambda: 5.0)
    clock._observe("stop", {})
    assert clock.seconds == 0.0


def test_publishing_is_optional() -> None:
    times = iter([1.0, 1.5])
    clock = CollectorClock(lambda: next(times))
    clock._observe("start", {})
    clock._observe("stop", {})
    assert clock.seconds == 0.5
