import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule.admin.capacity import (
    InstanceReading,
    cluster_capacity,
    cluster_json,
    instance_json,
    level,
    pool_full_json,
)
from bascule.admin.view import InstanceCapacity
from bascule.vocabulary import Level

shares = st.sampled_from((0.5, 0.7, 0.8, 0.9, 0.95, 1.0))
caps = st.integers(1, 5000)


def instance(in_flight: int, maximum: int) -> InstanceCapacity:
    return InstanceCapacity("pod", in_flight, maximum, level(in_flight, maximum, 0.8))


@pytest.mark.parametrize(
    ("in_flight", "maximum", "share", "expected"),
    [
        (0, 500, 0.8, Level.OK),
        (399, 500, 0.8, Level.OK),
        (400, 500, 0.8, Level.WARNING),
        (499, 500, 0.8, Level.WARNING),
        (500, 500, 0.8, Level.CRITICAL),
        (501, 500, 0.8, Level.CRITICAL),
        (6, 10, 0.7, Level.OK),
        (7, 10, 0.7, Level.WARNING),
        (8, 10, 1.0, Level.OK),
        (9, 10, 1.0, Level.WARNING),
        (0, 1, 0.8, Level.WARNING),
        (1, 1, 0.8, Level.CRITICAL),
    ],
)
def test_the_level_turns_orange_on_few_free_slots_and_red_on_none(
    in_flight: int, maximum: int, share: float, expected: Level
) -> None:
    assert level(in_flight, maximum, share) is expected


@given(caps, st.integers(0, 6000), shares)
def test_red_means_exactly_that_no_slot_is_free(maximum: int, in_flight: int, share: float) -> None:
    assert (level(in_flight, maximum, share) is Level.CRITICAL) == (in_flight >= maximum)


@given(caps, st.integers(0, 6000), shares)
def test_orange_means_exactly_that_few_slots_are_free(maximum: int, in_flight: int, share: float) -> None:
    few = max(1, math.ceil(maximum * (1 - Fraction(str(share)))))
    assert (level(in_flight, maximum, share) is Level.WARNING) == (0 < maximum - in_flight <= few)


@given(caps, shares)
def test_the_level_never_falls_when_sessions_are_added(maximum: int, share: float) -> None:
    order = [Level.OK, Level.WARNING, Level.CRITICAL]
    seen = [
        order.index(level(count, maximum, share)) for count in range(0, maximum + 2, max(1, maximum // 50))
    ]
    assert seen == sorted(seen)


def test_one_instance_alone_is_the_cluster() -> None:
    whole = cluster_capacity(instance(10, 12), [], 0.8)
    assert (whole.in_flight, whole.max, whole.instances, whole.reporting) == (10, 12, 1, 1)
    assert whole.level is instance(10, 12).level


def test_instances_are_added_up() -> None:
    whole = cluster_capacity(instance(437, 500), [InstanceReading(375, 500)], 0.8)
    assert cluster_json(whole) == {
        "inFlight": 812,
        "max": 1000,
        "instances": 2,
        "reporting": 2,
        "level": "warning",
    }


def test_a_silent_instance_keeps_its_last_known_cap_in_the_sum_and_is_counted_as_silent() -> None:
    whole = cluster_capacity(instance(100, 500), [InstanceReading(None, 500)], 0.8)
    assert (whole.in_flight, whole.max, whole.instances, whole.reporting) == (100, 1000, 2, 1)


def test_an_instance_that_never_answered_counts_as_one_without_a_cap() -> None:
    whole = cluster_capacity(instance(100, 500), [InstanceReading(None, None)], 0.8)
    assert (whole.max, whole.instances, whole.reporting) == (500, 2, 1)


def test_the_cluster_is_not_called_full_while_somebody_is_silent() -> None:
    assert cluster_capacity(instance(500, 500), [InstanceReading(500, 500)], 0.8).level is Level.CRITICAL
    assert cluster_capacity(instance(500, 500), [InstanceReading(None, 500)], 0.8).level is Level.WARNING


def test_a_silent_instance_is_no_reason_for_a_warning() -> None:
    assert cluster_capacity(instance(100, 500), [InstanceReading(None, 500)], 0.8).level is Level.OK


@pytest.mark.parametrize(
    ("others", "expected"), [(380, Level.OK), (400, Level.WARNING), (500, Level.CRITICAL)]
)
def test_an_instance_that_drains_counts_with_neither_its_sessions_nor_its_cap(
    others: int, expected: Level
) -> None:
    # As an alert and the dashboard see it: 380 of 500 are 76 %, though 780 of 900 would be orange.
    draining = InstanceCapacity("pod", 400, 500, Level.CRITICAL, draining=True)
    whole = cluster_capacity(draining, [InstanceReading(others, 500)], 0.8)
    assert (whole.in_flight, whole.max, whole.instances) == (others, 500, 2)
    assert whole.level is expected


def test_a_cluster_in_which_all_drain_has_no_room() -> None:
    alone = cluster_capacity(InstanceCapacity("pod", 0, 500, Level.CRITICAL, draining=True), [], 0.8)
    assert (alone.max, alone.level) == (0, Level.CRITICAL)


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 50)), max_size=6), shares)
def test_a_full_cluster_means_that_every_instance_is_full(
    others: list[tuple[int, int]], share: float
) -> None:
    whole = cluster_capacity(instance(9, 7), [InstanceReading(used, cap) for used, cap in others], share)
    assert (whole.level is Level.CRITICAL) == all(used >= cap for used, cap in others)


def test_an_instance_above_a_cap_that_was_lowered_takes_no_room_from_another() -> None:
    # As in alerts/rules_test.yaml: a new session finds 300 slots on the other instance.
    lowered, other = instance(900, 500), InstanceReading(200, 500)
    assert cluster_capacity(lowered, [other], 0.8).level is Level.OK
    assert cluster_capacity(instance(200, 500), [InstanceReading(900, 500)], 0.8).level is Level.OK
    assert cluster_capacity(lowered, [InstanceReading(400, 500)], 0.8).level is Level.WARNING
    assert cluster_capacity(lowered, [InstanceReading(500, 500)], 0.8).level is Level.CRITICAL


def test_the_sum_is_of_all_sessions_also_of_those_above_a_cap() -> None:
    whole = cluster_capacity(instance(900, 500), [InstanceReading(200, 500)], 0.8)
    assert (whole.in_flight, whole.max) == (1100, 1000)


def test_one_instance_is_shown_with_the_names_of_the_facts() -> None:
    assert instance_json(instance(437, 500)) == {
        "name": "pod",
        "inFlight": 437,
        "max": 500,
        "level": "warning",
        "draining": False,
    }


def test_the_start_gates_refusal_has_the_shape_of_hopsworks_errors() -> None:
    body = pool_full_json()
    assert set(body) == {"errorCode", "errorMsg", "usrMsg"}
    assert body["errorMsg"] == "WebSocket pool full"
    assert body["errorCode"] == 100067
