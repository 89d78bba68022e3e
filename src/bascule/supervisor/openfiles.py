"""The limit of open files: we raise it as far as it goes, and warn at the start if the cap cannot fit."""

from __future__ import annotations

import math
import resource

import structlog

from bascule.errors import ConfigError
from bascule.handover.descriptors import DESCRIPTORS_PER_SESSION, SPARE_DESCRIPTORS, sessions_that_fit

__all__ = ["prepare"]

_log = structlog.get_logger()


def prepare(cap: int, forwarders: int) -> None:
    """Raise the limit, for this process and all that it starts, and check that it is enough.

    Args:
        cap: Most sessions at once.
        forwarders: How many forwarders share them.

    Raises:
        ConfigError: Not one session fits.
    """
    _, limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    needed = math.ceil(cap / forwarders) * DESCRIPTORS_PER_SESSION + SPARE_DESCRIPTORS
    if not sessions_that_fit(limit):
        least = SPARE_DESCRIPTORS + DESCRIPTORS_PER_SESSION
        raise ConfigError([f"the open-file limit (ulimit -n): found {limit}; allowed: at least {least}"])
    if needed > limit:
        _log.warning(
            "the open-file limit is too low for maxSessionsPerApp",
            limit=limit,
            needed_by_each_forwarder=needed,
            sessions_that_fit=sessions_that_fit(limit) * forwarders,
        )
