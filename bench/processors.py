"""Which processor runs what: the proxy alone on one, load generator and upstream on the others."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

ALLOWED = sorted(os.sched_getaffinity(0))


def proxy_processors() -> set[int]:
    """The last processor is the proxy's: one core each, whatever it could use otherwise."""
    return {ALLOWED[-1]}


def other_processors() -> set[int]:
    """All the rest; the same one where there is only one."""
    return set(ALLOWED[:-1]) or {ALLOWED[0]}


def pin(cpus: set[int]) -> Callable[[], None]:
    """For ``preexec_fn``: the child and everything it starts stays on these processors."""
    return partial(os.sched_setaffinity, 0, cpus)
