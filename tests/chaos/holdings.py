"""What the processes of a proxy hold, at moments at which nobody is there."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.support.proctree import descriptors, forwarders, gateways
from tests.support.waiting import eventually_async

if TYPE_CHECKING:
    from tests.support.bascule import RunningBascule

__all__ = ["Held", "exceeds", "grown", "held"]

Held = dict[str, tuple[int, int]]
"""Descriptors and bytes of memory by the role of a process; where several have one, the most."""

_SETTLES_WITHIN: Final = 30.0
_SLACK: Final = (4, 16 << 20)
"""How much more may be held in the end than at first."""


def held(proxy: RunningBascule) -> Held:
    """Return what the processes hold."""
    roles = {"supervisor": [proxy.process.pid], "gateway": gateways(proxy), "forwarder": forwarders(proxy)}
    return {
        role: (max(len(descriptors(pid)) for pid in pids), max(map(_resident, pids)))
        for role, pids in roles.items()
    }


def exceeds(now: Held, first: Held) -> bool:
    """Tell whether more is held than at first, beyond what may be."""
    return any(
        much > before + slack
        for role in first
        for much, before, slack in zip(now[role], first[role], _SLACK, strict=True)
    )


async def grown(proxy: RunningBascule, first: Held) -> Held:
    """Return what the processes hold if it stays more than at first; or else nothing."""
    with contextlib.suppress(TimeoutError):
        await eventually_async(lambda: not exceeds(held(proxy), first), _SETTLES_WITHIN, "what is held")
        return {}
    return held(proxy)


def _resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
