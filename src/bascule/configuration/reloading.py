"""Which changes a running proxy can take over from a configuration that was read again.

All or none: the configuration that we show is the one in force, so one that changes a key which only a
start can change is refused as a whole. These keys say where we listen and how the forwarders run: listening
sockets and forwarders outlive every gateway.

Rules of this file: pure.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from bascule.configuration.problems import dotted
from bascule.errors import ConfigError

if TYPE_CHECKING:
    from bascule.configuration.config import Config
    from bascule.configuration.model import KeyPath

__all__ = ["ONLY_AT_A_START", "check_reload"]

ONLY_AT_A_START: Final[tuple[KeyPath, ...]] = (
    ("listen",),
    ("listenMode",),
    ("admin",),
    ("adminMode",),
    ("tls", "redirectFrom"),
    ("websocketProxy", "grizzlyWorkerPoolMaxSize"),
    ("forwarders", "count"),
    ("forwarders", "readBufferBytes"),
)
"""Keys that a reload cannot change."""


def check_reload(running: Config, wanted: Config) -> None:
    """Check whether a running proxy can take over another configuration.

    Raises:
        ConfigError: It changes what only a start can; names each key.
    """
    before, after = (each.model_dump(mode="json") for each in (running, wanted))
    if problems := [
        f"{dotted(key)}: found {json.dumps(found)}; allowed: {json.dumps(kept)}, as at the start;"
        " only a restart changes it"
        for key in ONLY_AT_A_START
        if (found := _value(after, key)) != (kept := _value(before, key))
    ]:
        raise ConfigError(problems)


def _value(dumped: Any, key: KeyPath) -> Any:
    for step in key:
        dumped = dumped[step]
    return dumped
