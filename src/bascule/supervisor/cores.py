"""How many cores there are for us: what the scheduler allows, and what a container's quota pays for.

A container with a limit of two cores on a machine with sixty-four sees sixty-four; as
many forwarders would share two cores' worth of time and be throttled in turn.
"""

from __future__ import annotations

import math
import os
from pathlib import Path


def available(root: Path = Path("/sys/fs/cgroup")) -> int:
    """Return the number of cores to use, at least one.

    Args:
        root: Where the control groups are mounted; version 2 and version 1 are understood.
    """
    allowed = len(os.sched_getaffinity(0))
    quota = _quota(root)
    return max(1, allowed if quota is None else min(allowed, math.ceil(quota)))


def _quota(root: Path) -> float | None:
    """Return the cores that the quota pays for; ``None`` without a quota."""
    limit = _words(root / "cpu.max")
    if len(limit) == 2:
        return None if limit[0] == "max" else _ratio(limit[0], limit[1])
    quota, period = _words(root / "cpu/cpu.cfs_quota_us"), _words(root / "cpu/cpu.cfs_period_us")
    if quota and period and not quota[0].startswith("-"):
        return _ratio(quota[0], period[0])
    return None


def _ratio(quota: str, period: str) -> float | None:
    try:
        return int(quota) / int(period) or None
    except (ValueError, ZeroDivisionError):
        return None


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []
