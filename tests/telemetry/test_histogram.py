"""Times go into the numbers of a histogram, whoever keeps them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule.telemetry.durations import DURATIONS
from bascule.telemetry.histogram import Histogram
from bascule.telemetry.roundtrips import ROUND_TRIPS

SHAPE = Histogram(1.0, 5.0, 60.0)


def test_a_time_is_counted_in_its_bucket_and_all_above() -> None:
    words = [0] * SHAPE.words
    for seconds in (0.2, 1.0, 1.1, 60.0, 100.0):
        SHAPE.count(words, seconds)

    reading = SHAPE.reading(words)

    assert reading.bounds == (1.0, 5.0, 60.0)
    assert reading.cumulative == (2, 3, 4, 5)
    assert reading.sum == pytest.approx(162.3)


def test_a_negative_time_counts_as_zero() -> None:
    words = [0] * SHAPE.words
    SHAPE.count(words, -0.001)
    assert (SHAPE.reading(words).cumulative[0], SHAPE.reading(words).sum) == (1, 0.0)


@given(times=st.lists(st.floats(0, 1e6), max_size=30))
def test_each_time_is_counted_once_and_at_most_once_below_each_bound(times: list[float]) -> None:
    words = [0] * SHAPE.words
    for seconds in times:
        SHAPE.count(words, seconds)
    reading = SHAPE.reading(words)
    counted = zip((*reading.bounds, math.inf), reading.cumulative, strict=True)
    assert all(count == sum(seconds <= bound for seconds in times) for bound, count in counted)
    assert reading.sum == pytest.approx(sum(times), abs=1e-6 * len(times) + 1e-9)


@pytest.mark.parametrize("shape", [DURATIONS, ROUND_TRIPS], ids=["durations", "round trips"])
def test_each_bound_is_above_the_one_before(shape: Histogram) -> None:
    assert list(shape.bounds) == sorted(set(shape.bounds))
