"""How many cores we may use: as many as the scheduler allows, and as a container's quota pays for.

A container with a limit of two cores on a machine with sixty-four sees sixty-four. As many
forwarders would share the time of two cores, and the kernel would throttle them in turn.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING

from bascule.telemetry.cgroups import groups

if TYPE_CHECKING:
    from bascule.telemetry.cgroups import Group

__all__ = ["available"]


def available(root: Path = Path("/")) -> int:
    """Return the number of cores to use, at least one: the least that the scheduler or a quota allows.

    Args:
        root: Where `/proc` and `/sys` are.
    """
    quotas = [quota for group in groups("cpu", root) if (quota := _quota(group)) is not None]
    return min([len(os.sched_getaffinity(0)), *map(math.ceil, quotas)])


def _quota(group: Group) -> float | None:
    """Return the cores that a group's quota pays for; ``None`` without a quota."""
    names = ("cpu.max",) if group.version == 2 else ("cpu.cfs_quota_us", "cpu.cfs_period_us")
    said = [word for name in names for word in group.words(name)]
    if len(said) != 2 or not all(word.isdigit() and int(word) for word in said):
        return None  # "max", or -1
    return int(said[0]) / int(said[1])
