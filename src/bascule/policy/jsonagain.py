"""Data that came as JSON and goes on as JSON: to JupyterHub, to other instances, to the next gateway.

Python reads more than it can write: ``NaN`` and ``1e999`` are no JSON (RFC 8259 §6), and what was just not
nested too deeply to be read from one depth of the stack is so from another.

Rules of this file: pure.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["DEEPEST", "check_writable"]

DEEPEST: Final = 64
"""Most nested levels. What JupyterHub says of a route has one."""


def check_writable(data: object) -> None:
    """Check that data can be written as JSON wherever that is done.

    Args:
        data: What ``json.loads`` returned.

    Raises:
        RecursionError: It has more than `DEEPEST` levels.
        ValueError: It has a number that JSON cannot hold.
    """
    level = [data]
    for _ in range(DEEPEST):
        level = [inner for outer in level for inner in _members(outer)]
    if level:
        raise RecursionError
    json.dumps(data, allow_nan=False)


def _members(data: object) -> Iterable[object]:
    if isinstance(data, dict):
        return data.values()
    return data if isinstance(data, list) else ()
