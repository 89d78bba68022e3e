"""Time in the cycle collector is measured."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

import pytest

from bascule.telemetry.garbage import CollectorClock

if TYPE_CHECKING:
    from collections.abc import Iterator

BEFORE = 500


@pytest.fixture
def words() -> Iterator[list[int]]:
    """Install a clock that adds to the second of these words, and take it away."""
    times = iter(range(1_000_000))
    others = gc.callbacks[:]
    words = [7, BEFORE]
    CollectorClock(lambda: next(times), words, 1).install()
    yield words
    gc.callbacks[:] = others


def test_each_collection_adds_the_time_it_took_to_what_was_there(words: list[int]) -> None:
    gc.collect()
    gc.collect()

    assert words[1] >= BEFORE + 2
    assert words[0] == 7


def test_a_collection_that_was_running_at_the_start_is_left_out(words: list[int]) -> None:
    gc.callbacks[-1]("stop", {})
    assert words[1] == BEFORE
