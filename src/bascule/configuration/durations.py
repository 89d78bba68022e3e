"""Durations as operators write them: seconds, or a number with its unit.

Rules of this file: a duration is a ``float`` of seconds everywhere in the code;
text exists only in files, in the environment and on the command line.
"""

from __future__ import annotations

import re
from typing import Annotated, Final

from pydantic import BeforeValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from bascule.configuration.badvalue import malformed, not_allowed
from bascule.configuration.schemapatterns import DURATION, MORE_THAN_NOTHING

__all__ = ["Duration", "Patience", "PositiveDuration", "WholeSeconds"]

_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_TEXT: Final = re.compile(r"(?P<number>[0-9]+(?:\.[0-9]+)?)(?P<unit>ms|s|m|h)", re.ASCII)
_ALLOWED: Final = 'a number of seconds, or a text such as "500ms", "30s", "5m", "1h"'
_POSITIVE_ALLOWED: Final = f"{_ALLOWED}; more than 0"
_LONGEST_WHOLE: Final = 32767
"""The kernel's own bound of ``TCP_KEEPIDLE`` and ``TCP_KEEPINTVL``."""
_WHOLE_ALLOWED: Final = f"whole seconds from 1s to {_LONGEST_WHOLE}s"
_LEAST_PATIENCE: Final = 5.0
"""Seconds in which a process gives five signs of life, so that a late one does not end it."""
_PATIENCE_ALLOWED: Final = f"{_ALLOWED}; 0, or from 5s on"
_LONGEST: Final = 10 * 365 * 86400
"""Ten years. Larger values are slips, and some overflow a kernel field."""

_SCHEMA: Final = {
    "x-duration": True,
    "x-allowed": _ALLOWED,
    "anyOf": [
        {"type": "number", "minimum": 0, "maximum": _LONGEST},
        {"type": "string", "pattern": DURATION},
    ],
}

_MORE_THAN_NOTHING: Final = {
    **_SCHEMA,
    "anyOf": [
        {"type": "number", "exclusiveMinimum": 0, "maximum": _LONGEST},
        {"type": "string", "pattern": MORE_THAN_NOTHING},
    ],
}

_WHOLE_SCHEMA: Final = {
    **_SCHEMA,
    "anyOf": [
        {"type": "integer", "minimum": 1, "maximum": _LONGEST_WHOLE},
        {"type": "string", "pattern": MORE_THAN_NOTHING},
    ],
}


def _parse_duration(value: object) -> float:
    """Turn what stands in a file into seconds.

    Args:
        value: A number of seconds, or a text with the unit ``ms``, ``s``, ``m`` or ``h``.

    Returns:
        Seconds, at least 0.

    Raises:
        PydanticCustomError: It is neither, negative, not finite or beyond ten years.
    """
    seconds: float | None = None
    if isinstance(value, str):
        if found := _TEXT.fullmatch(value.strip()):
            seconds = float(found["number"]) * _SECONDS[found["unit"]]
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        seconds = float(min(value, 2 * _LONGEST))  # min first: a huge int does not fit a float
    if seconds is not None and seconds > _LONGEST:
        raise not_allowed("at most ten years (87600h)")
    if seconds is None or not seconds >= 0:
        raise malformed(_ALLOWED)
    return round(seconds, 6)  # microseconds: a printed configuration has 0.3, not 0.1 * 3


Duration = Annotated[float, BeforeValidator(_parse_duration), WithJsonSchema(_SCHEMA)]
"""Seconds, at least 0."""


def _positive(value: object) -> float:
    seconds = _parse_duration(value)
    if seconds == 0:
        raise malformed(_POSITIVE_ALLOWED)
    return seconds


PositiveDuration = Annotated[
    float,
    BeforeValidator(_positive),
    WithJsonSchema({**_MORE_THAN_NOTHING, "x-allowed": _POSITIVE_ALLOWED}),
]
"""Seconds, more than 0."""


def _whole(value: object) -> float:
    try:
        seconds = _parse_duration(value)
    except PydanticCustomError:
        raise malformed(_WHOLE_ALLOWED) from None
    if seconds != int(seconds) or not 1 <= seconds <= _LONGEST_WHOLE:
        raise malformed(_WHOLE_ALLOWED)
    return seconds


WholeSeconds = Annotated[
    float,
    BeforeValidator(_whole),
    WithJsonSchema({**_WHOLE_SCHEMA, "x-allowed": _WHOLE_ALLOWED}),
]
"""Whole seconds in the range of the kernel's ``TCP_KEEPIDLE`` and ``TCP_KEEPINTVL``."""


def _patience(value: object) -> float:
    seconds = _parse_duration(value)
    if 0 < seconds < _LEAST_PATIENCE:
        raise malformed(_PATIENCE_ALLOWED)
    return seconds


Patience = Annotated[
    float, BeforeValidator(_patience), WithJsonSchema({**_SCHEMA, "x-allowed": _PATIENCE_ALLOWED})
]
"""Seconds until a process that gives no sign of life is given up; 0 for never, else at least 5."""
