"""The decaying reservoir: bounds, half-life, rescaling, quantiles, and silence."""

from __future__ import annotations

import json
import math
import random
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule.telemetry.reservoir import CAPACITY, EMPTY, RESCALE_ABOVE, Reservoir, Summary
from tests.support.growth import most_held

HALF_LIFE = 300.0
WINDOW = 600.0

values = st.floats(0.0, 1e6)
gaps = st.floats(0.0, 50.0)
updates = st.lists(st.tuples(values, gaps), min_size=1, max_size=60)


def reservoir(seed: int = 1, *, capacity: int = CAPACITY, half_life: float = HALF_LIFE) -> Reservoir:
    return Reservoir(half_life, WINDOW, random=random.Random(seed).random, capacity=capacity)


def fill(sample: Reservoir, batch: list[tuple[float, float]]) -> float:
    now = 0.0
    for value, gap in batch:
        now += gap
        sample.update(value, now)
    return now


def landmark_of(sample: Reservoir) -> float:
    """Return the time whose weight is 1; NaN before the first update."""
    landmark: float = sample.dump()["landmark"]
    return landmark


def quantiles(summary: Summary) -> list[float]:
    return [summary.quantile(p / 20) for p in range(21)]


def share_of(summary: Summary, value: float) -> float:
    """Return the share of the weight that values up to `value` have, found by bisection on the quantiles."""
    low, high = 0.0, 1.0
    for _ in range(40):
        middle = (low + high) / 2
        if summary.quantile(middle) <= value:
            low = middle
        else:
            high = middle
    return low


def test_an_untouched_reservoir_knows_nothing() -> None:
    summary = reservoir().summarise(0.0)

    assert summary is EMPTY
    assert all(map(math.isnan, [summary.max, summary.mean, summary.quantile(0.5)]))


def test_one_value_is_every_quantile() -> None:
    sample = reservoir()
    sample.update(12.5, 100.0)

    summary = sample.summarise(101.0)

    assert (len(sample), summary.max, summary.mean) == (1, 12.5, 12.5)
    assert set(quantiles(summary)) == {12.5}


def test_quantiles_are_steps_over_measured_values() -> None:
    sample = reservoir()
    for value in (4.0, 1.0, 3.0, 2.0):
        sample.update(value, 0.0)

    summary = sample.summarise(0.0)

    assert [summary.quantile(p) for p in (0.0, 0.24, 0.25, 0.5, 0.75, 1.0)] == [1.0, 1.0, 2.0, 3.0, 4.0, 4.0]
    assert summary.mean == 2.5


@pytest.mark.parametrize("p", [-0.01, 1.01, math.nan])
def test_a_quantile_outside_the_unit_interval_is_refused(p: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        EMPTY.quantile(p)


@pytest.mark.parametrize(
    ("half_life", "window", "capacity"),
    [(0.0, 1.0, 1), (math.inf, 1.0, 1), (math.nan, 1.0, 1), (1.0, 0.0, 1), (1.0, 1.0, 0)],
)
def test_senseless_parameters_are_refused(half_life: float, window: float, capacity: int) -> None:
    with pytest.raises(ValueError, match="half-life"):
        Reservoir(half_life, window, random=random.random, capacity=capacity)


@pytest.mark.parametrize(
    ("value", "now"), [(math.nan, 1.0), (math.inf, 1.0), (1.0, math.nan), (1.0, math.inf)]
)
def test_a_value_that_is_no_number_is_refused_and_changes_nothing(value: float, now: float) -> None:
    sample = reservoir()

    with pytest.raises(ValueError, match="cannot hold"):
        sample.update(value, now)

    assert len(sample) == 0
    assert math.isnan(landmark_of(sample))


@given(updates, st.integers(1, 20), st.integers(0, 2**32))
def test_the_size_never_exceeds_the_capacity(
    batch: list[tuple[float, float]], capacity: int, seed: int
) -> None:
    sample = reservoir(seed, capacity=capacity)
    fill(sample, batch)

    assert len(sample) == min(len(batch), capacity)


@given(updates, st.integers(1, 80), st.integers(0, 2**32))
def test_quantiles_rise_and_stay_between_the_extremes(
    batch: list[tuple[float, float]], capacity: int, seed: int
) -> None:
    sample = reservoir(seed, capacity=capacity)
    summary = sample.summarise(fill(sample, batch))

    found = quantiles(summary)

    assert found == sorted(found)
    assert set(found) <= {value for value, _ in batch}
    assert found[-1] == summary.max
    assert found[0] <= summary.mean * (1 + 1e-9)
    assert summary.mean <= summary.max * (1 + 1e-9)


@given(updates, st.lists(st.floats(-1e4, 1e4), min_size=1, max_size=5), st.integers(0, 2**32))
def test_rescaling_changes_no_weight_beyond_rounding(
    batch: list[tuple[float, float]], landmarks: list[float], seed: int
) -> None:
    left_alone, moved = reservoir(seed, capacity=20), reservoir(seed, capacity=20)
    now = fill(left_alone, batch)
    fill(moved, batch)

    for landmark in landmarks:
        moved.rescale(landmark)

    before, after = left_alone.summarise(now), moved.summarise(now)
    assert landmark_of(moved) == landmarks[-1]
    assert (len(moved), after.max) == (len(left_alone), before.max)
    assert after.mean == pytest.approx(before.mean, rel=1e-9)
    for value, _ in batch:
        assert share_of(after, value) == pytest.approx(share_of(before, value), abs=1e-9)


def test_rescaling_between_updates_keeps_the_same_sample() -> None:
    left_alone, moved = reservoir(7, capacity=50), reservoir(7, capacity=50)
    for number in range(2000):
        left_alone.update(number, number / 4)
        moved.update(number, number / 4)
        if number % 97 == 0:
            moved.rescale(number / 4 + 13.0)

    assert quantiles(moved.summarise(500.0)) == quantiles(left_alone.summarise(500.0))


def test_rescaling_moves_what_a_survivor_stands_for_along() -> None:
    """Half of the values are dropped: light survivors also stand for their equals, heavy ones do not."""
    left_alone, moved = reservoir(3, capacity=50), reservoir(3, capacity=50)
    for number in range(100):
        left_alone.update(number, number * HALF_LIFE / 10)
        moved.update(number, number * HALF_LIFE / 10)

    moved.rescale(1000 * HALF_LIFE)

    now = 10 * HALF_LIFE
    assert moved.summarise(now).mean == pytest.approx(left_alone.summarise(now).mean, rel=1e-9)
    assert left_alone.summarise(now).quantile(0.2) > left_alone.summarise(now).quantile(0.0)


def test_a_landmark_so_far_that_priorities_collide_keeps_the_heap_in_order() -> None:
    sample = reservoir(3, capacity=50)
    for number in range(200):
        sample.update(number, number)

    sample.rescale(1e21)

    heap = sample.dump()["held"]
    assert len({priority for priority, *_ in heap}) == 1
    assert all(heap[(child - 1) // 2] < heap[child] for child in range(1, len(heap)))


def test_rescaling_an_untouched_reservoir_does_nothing() -> None:
    sample = reservoir()
    sample.rescale(5.0)
    assert math.isnan(landmark_of(sample))


def test_the_landmark_moves_before_the_exponent_grows_large() -> None:
    sample = reservoir()
    limit = RESCALE_ABOVE * HALF_LIFE / math.log(2)
    sample.update(1.0, 0.0)
    sample.update(2.0, limit - 1.0)
    assert landmark_of(sample) == 0.0

    sample.update(3.0, limit + 1.0)

    assert landmark_of(sample) == limit + 1.0
    # What came a second or two before still weighs the same; what came long before weighs nothing.
    summary = sample.summarise(limit + 1.0)
    assert share_of(summary, 1.0) == pytest.approx(0.0, abs=1e-9)
    assert share_of(summary, 2.0) == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("gap", [1e6, 1e9, 1e15, sys.float_info.max / 1e10])
def test_no_gap_in_time_overflows_anything(gap: float) -> None:
    sample = reservoir(half_life=0.001)
    sample.update(1.0, 0.0)

    sample.update(2.0, gap)

    summary = sample.summarise(gap)
    assert (len(sample), summary.max, summary.mean, summary.quantile(0.5)) == (2, 2.0, 2.0, 2.0)


def test_a_clock_that_steps_back_does_no_harm() -> None:
    sample = reservoir()
    sample.update(1.0, 1000.0)
    sample.update(2.0, 700.0)

    summary = sample.summarise(1000.0)

    assert share_of(summary, 1.0) == pytest.approx(2 / 3)


@pytest.mark.parametrize("draw", [0.0, 1.0])
def test_a_draw_at_either_end_is_as_good_as_any(draw: float) -> None:
    sample = Reservoir(HALF_LIFE, WINDOW, random=lambda: draw, capacity=3)
    for value in (1.0, 2.0, 3.0, 4.0):
        sample.update(value, 0.0)

    assert len(sample) == 3


def test_equal_priorities_never_overwrite_each_other() -> None:
    sample = Reservoir(HALF_LIFE, WINDOW, random=lambda: 0.5)
    for value in (1.0, 1.0, 2.0, 3.0):
        sample.update(value, 0.0)

    assert len(sample) == 4
    assert sample.summarise(0.0).mean == 1.75


def test_of_equal_priorities_the_oldest_goes() -> None:
    sample = Reservoir(HALF_LIFE, WINDOW, random=lambda: 0.5, capacity=2)
    for value in (1.0, 2.0, 3.0):
        sample.update(value, 0.0)
    assert quantiles(sample.summarise(0.0))[0] == 2.0


def test_the_landmark_stays_where_it_is_until_it_has_to_move() -> None:
    sample = reservoir()
    for half_lives in (0, 92):
        sample.update(1.0, 1e6 + half_lives * HALF_LIFE)
        assert landmark_of(sample) == 1e6
    sample.update(1.0, 1e6 + 93 * HALF_LIFE)
    assert landmark_of(sample) == 1e6 + 93 * HALF_LIFE


def test_a_value_weighs_half_after_each_half_life_while_everything_fits() -> None:
    sample = reservoir()
    sample.update(0.0, 0.0)
    sample.update(1.0, HALF_LIFE)
    sample.update(2.0, 2 * HALF_LIFE)

    summary = sample.summarise(2 * HALF_LIFE)

    assert share_of(summary, 0.0) == pytest.approx(1 / 7)
    assert share_of(summary, 1.0) == pytest.approx(3 / 7)


@pytest.mark.parametrize("halvings", [1, 2])
def test_a_crowd_weighs_half_after_each_half_life_when_most_of_it_was_dropped(halvings: int) -> None:
    """Weighing the survivors by their own weight alone would count the decay twice: 1 : 4, not 1 : 2."""
    shares = []
    for seed in range(20):
        sample = reservoir(seed)
        for number in range(5000):
            sample.update(0.0, number * 1e-6)
        for number in range(5000):
            sample.update(1.0, halvings * HALF_LIFE + number * 1e-6)
        shares.append(share_of(sample.summarise(halvings * HALF_LIFE + 1.0), 0.0))

    old = 0.5**halvings
    assert sum(shares) / len(shares) == pytest.approx(old / (old + 1), abs=0.01)


def test_a_new_value_outweighs_a_crowd_most_of_which_was_dropped() -> None:
    sample = reservoir(capacity=100)
    for number in range(1000):
        sample.update(0.0, number * 1e-6)
    sample.update(1.0, 20 * HALF_LIFE)
    assert share_of(sample.summarise(20 * HALF_LIFE), 0.0) == pytest.approx(1000 / 2**20, rel=0.3)


def test_the_order_of_equal_time_updates_does_not_matter_in_distribution() -> None:
    """The first hundred of a thousand equal-time values survive as often as the last hundred."""
    first = last = 0
    for seed in range(200):
        sample = reservoir(seed, capacity=100)
        for number in range(1000):
            sample.update(number, 5.0)
        summary = sample.summarise(5.0)
        first += round(share_of(summary, 99.0) * 100)
        last += 100 - round(share_of(summary, 899.0) * 100)

    # 200 runs, 10 expected in each: 2000, standard deviation 41.
    assert first == pytest.approx(2000, abs=165)
    assert last == pytest.approx(2000, abs=165)


def test_the_stock_alpha_has_a_half_life_of_46_seconds() -> None:
    assert reservoir(half_life=46.2).dump()["alpha"] == pytest.approx(0.015, abs=2e-5)
    assert reservoir().dump()["alpha"] == pytest.approx(0.0023105, abs=1e-7)


def test_everything_is_nan_when_nothing_is_recent() -> None:
    sample = reservoir()
    sample.update(5.0, 100.0)

    just_recent, too_old = sample.summarise(100.0 + WINDOW - 0.001), sample.summarise(100.0 + WINDOW)

    assert just_recent.quantile(0.99) == 5.0
    assert len(sample) == 1
    assert all(map(math.isnan, [too_old.max, too_old.mean, *quantiles(too_old)]))


def test_a_clock_that_steps_back_does_not_make_the_newest_value_old() -> None:
    sample = reservoir()
    sample.update(5.0, 1000.0)
    sample.update(5.0, 300.0)

    assert sample.summarise(950.0).max == 5.0


def test_a_new_value_ends_the_silence_and_outweighs_the_past() -> None:
    sample = reservoir()
    sample.update(5.0, 0.0)

    sample.update(7.0, 4 * HALF_LIFE)

    assert sample.summarise(4 * HALF_LIFE).quantile(0.5) == 7.0


def test_a_full_reservoir_takes_about_200_kib() -> None:
    sample = reservoir()

    def use() -> None:
        for number in range(5000):
            sample.update(number / 7, number / 100)

    assert most_held(use) < 250 * 1024


@given(updates, st.integers(0, 2**32))
def test_what_was_dumped_and_loaded_goes_on_as_if_nothing_had_happened(
    batch: list[tuple[float, float]], seed: int
) -> None:
    source = random.Random(seed)
    one = Reservoir(HALF_LIFE, WINDOW, random=source.random, capacity=8)
    other = reservoir(seed, capacity=8)
    half = len(batch) // 2
    fill(one, batch[:half])
    fill(other, batch[:half])
    draws = random.Random(seed + 1)
    loaded = Reservoir(HALF_LIFE, WINDOW, random=draws.random, capacity=8)
    loaded.restore(json.loads(json.dumps(other.dump())))
    source.seed(seed + 1)
    now = fill(one, batch[half:])

    assert fill(loaded, batch[half:]) == now
    assert loaded.dump() == one.dump()


def test_what_was_loaded_stands_for_what_was_dropped_before() -> None:
    former, later = reservoir(capacity=100), reservoir(capacity=100)
    for number in range(1000):
        former.update(0.0, number * 1e-6)
    for number in range(50):
        former.update(1.0, 3 * HALF_LIFE + number * 1e-6)
    later.restore(json.loads(json.dumps(former.dump())))
    assert later.summarise(3 * HALF_LIFE + 1.0) == former.summarise(3 * HALF_LIFE + 1.0)


def test_more_than_fits_is_not_loaded() -> None:
    former, later = reservoir(), reservoir(capacity=1)
    for value in (4.0, 5.0):
        former.update(value, 0.0)
    later.restore(former.dump())
    assert len(later) == 0


def test_what_was_weighed_by_another_half_life_is_not_loaded() -> None:
    other = reservoir(half_life=60.0)
    other.update(4.0, 0.0)
    loaded = reservoir()
    loaded.restore(other.dump())
    assert len(loaded) == 0
