"""Capacity as users see it: levels, the cluster's sum and the start gate's refusal.

Rules of this file: pure functions over readings; no clock, no I/O. The levels mean what the
Hopsworks page "Session Capacity Warnings" says, and the badges (`static/badge.js`) use its texts.
Its threshold for "few free slots" is not public, so `capacity.warningShare` is ours, and the
documents say so.

Three rules keep the figures honest when another instance is silent:

1. The cap that a silent instance last told us stays in the sum, so the cluster never looks
   smaller because an instance is slow.
2. The sessions of a silent instance are unknown and not counted; ``reporting < instances`` says so.
3. "Full" is a statement about *every* instance, so a partial answer is never
   critical: the worst it says is that the cluster is close to its limit.

What is judged is where a new session would find room. An instance may carry more sessions than its cap,
after a reload that lowered it: then it is full, and what is beyond its cap takes no room from others.

An instance that drains takes no new session. So it is critical whatever its cap, and counts for the
cluster with nothing, neither its sessions nor its cap: the question is how much room is left where a
session can start. The dashboard and the alerts leave it out as well (`ws_draining`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Final

from bascule.vocabulary import Level

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bascule.admin.view import InstanceCapacity

__all__ = [
    "POOL_FULL",
    "POOL_FULL_ERROR_CODE",
    "ClusterCapacity",
    "InstanceReading",
    "cluster_capacity",
    "cluster_json",
    "instance_json",
    "level",
    "pool_full_json",
]

POOL_FULL: Final = "WebSocket pool full"
"""`errorMsg` of the start gate's 503, to the letter."""

POOL_FULL_ERROR_CODE: Final = 100067
"""`errorCode` of the same answer. Only the range (100000, service errors) is public; the number is ours."""


def level(in_flight: int, maximum: int, warning_share: float) -> Level:
    """Judge how full a pool is.

    Args:
        in_flight: Sessions now.
        maximum: The cap, at least 1.
        warning_share: Share of the cap, 0 to 1, from which on slots count as few.

    Returns:
        Critical if and only if no slot is free; warning if and only if slots are free,
        but no more than ``max(1, ceil(maximum * (1 - warning_share)))`` of them.
    """
    free = maximum - in_flight
    if free <= 0:
        return Level.CRITICAL
    # Fractions of the decimal text: 10 * (1 - 0.7) is 3.0000000000000004 in binary, and its ceiling 4.
    few = max(1, math.ceil(maximum * (1 - Fraction(str(warning_share)))))
    return Level.WARNING if free <= few else Level.OK


@dataclass(frozen=True, slots=True)
class InstanceReading:
    """What we know of one other instance.

    Attributes:
        in_flight: Sessions it reported in this round, 0 if it drains; ``None`` if it did not answer.
        max: Its cap, 0 if it drains, from this round or the last one it answered; ``None`` if it never did.
    """

    in_flight: int | None
    max: int | None


@dataclass(frozen=True, slots=True)
class ClusterCapacity:
    """All instances together.

    Attributes:
        in_flight: Sum over the instances that answered and do not drain.
        max: Sum of the known caps of instances that do not drain, also of those that did not answer.
        instances: How many instances there are, as far as we can tell.
        reporting: How many of them answered, this one included.
        level: Judged over the instances that answered, each at most full; never critical while one is silent.
    """

    in_flight: int
    max: int
    instances: int
    reporting: int
    level: Level


def cluster_capacity(
    own: InstanceCapacity, others: Iterable[InstanceReading], warning_share: float
) -> ClusterCapacity:
    """Add up this instance and the others."""
    in_flight, reported_max = (0, 0) if own.draining else (own.in_flight, own.max)
    taken, known_max = min(in_flight, reported_max), reported_max
    instances = reporting = 1
    for other in others:
        instances += 1
        known_max += other.max or 0
        if other.in_flight is not None and other.max is not None:
            reporting += 1
            in_flight += other.in_flight
            taken += min(other.in_flight, other.max)
            reported_max += other.max
    judged = level(taken, reported_max, warning_share)
    if reporting < instances and judged is Level.CRITICAL:
        judged = Level.WARNING
    return ClusterCapacity(in_flight, known_max, instances, reporting, judged)


def instance_json(own: InstanceCapacity) -> dict[str, object]:
    """Render one instance as the capacity API shows it."""
    return {
        "name": own.name,
        "inFlight": own.in_flight,
        "max": own.max,
        "level": own.level.value,
        "draining": own.draining,
    }


def cluster_json(whole: ClusterCapacity) -> dict[str, object]:
    """Render the cluster as the capacity API shows it."""
    return {
        "inFlight": whole.in_flight,
        "max": whole.max,
        "instances": whole.instances,
        "reporting": whole.reporting,
        "level": whole.level.value,
    }


def pool_full_json() -> dict[str, object]:
    """Render the start gate's refusal in the shape of Hopsworks's own errors."""
    return {
        "errorCode": POOL_FULL_ERROR_CODE,
        "errorMsg": POOL_FULL,
        "usrMsg": "No free session slot on this instance. Close notebook tabs, terminals and apps "
        "you no longer use, or refresh the page to be placed on another instance.",
    }
