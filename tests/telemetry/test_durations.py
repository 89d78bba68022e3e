"""Durations go into the reservoir; the histogram that they go into as well is in test_histogram.py."""

from __future__ import annotations

import json
import math

import pytest

from bascule.telemetry.durations import DURATIONS, Durations
from bascule.telemetry.reservoir import Reservoir


def durations() -> Durations:
    return Durations(Reservoir(300.0, 600.0, random=lambda: 0.5))


def test_the_buckets_span_a_second_to_a_day() -> None:
    assert (DURATIONS.bounds[0], DURATIONS.bounds[-1]) == (1.0, 86400.0)


def test_the_reservoir_sees_what_is_recorded() -> None:
    taken = durations()
    taken.record(4.0, 10.0)
    taken.record(8.0, 10.0)

    assert (taken.summary(10.0).max, taken.summary(10.0).mean) == (8.0, 6.0)


def test_one_scrape_summarises_once_and_a_new_close_is_seen_at_once() -> None:
    taken = durations()
    taken.record(4.0, 10.0)
    first = taken.summary(10.0)
    assert taken.summary(10.0) is first
    assert taken.summary(11.0) is not first

    taken.record(9.0, 11.0)

    assert taken.summary(11.0).max == 9.0


def test_a_negative_duration_counts_as_zero() -> None:
    taken = durations()
    taken.record(-0.001, 0.0)
    assert taken.summary(0.0).max == 0.0


def test_a_duration_that_is_no_number_is_not_recorded() -> None:
    taken = durations()
    with pytest.raises(ValueError, match="cannot hold"):
        taken.record(math.inf, 0.0)
    assert not taken.dump()["held"]


def test_another_process_goes_on_with_the_sample() -> None:
    before = durations()
    before.record(4.0, 10.0)
    after = durations()
    after.restore(json.loads(json.dumps(before.dump())))
    after.record(8.0, 10.0)

    assert (after.summary(10.0).max, after.summary(10.0).mean) == (8.0, 6.0)
