"""Times as callers of `/api/routes` write them: ISO 8601, in every form that JavaScript's ``Date`` reads.

configurable-http-proxy hands what comes to ``Date``, so a year, a month and a date alone are times as well:
the first moment of them, in UTC. A time without a zone is UTC too; ``Date`` takes the server's zone, which in
a container is the same.

Rules of this file: pure; `ValueError` tells nothing of the text.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

__all__ = ["ALLOWED", "seconds_since_epoch"]

ALLOWED: Final = (
    "ISO8601, such as 2026-08-20T10:21:49.123Z, 2026-08-20T12:21%2B02:00 (a + is escaped in a query), "
    "2026-08-20, 2026-08 or 2026; what has no zone is UTC"
)
"""What is allowed, in words."""

_YEAR_OR_MONTH: Final = re.compile(r"[0-9]{4}(-[0-9]{2})?")
_LOST_PLUS: Final = re.compile(r"(?<=[0-9]) (?=[0-9]{2}(?::?[0-9]{2})?$)")
"""The space that a query makes of the ``+`` of an offset. Behind a date alone it separates the time."""
_MIDNIGHT_AFTER: Final = re.compile(r"(?<=[T ])24(?=:?00(?::?00(?:[.,]0+)?)?(?:Z|[+-]|$))")
"""``24:00`` is the end of a day (ISO 8601 §4.2.3 of 2004)."""


def seconds_since_epoch(text: str) -> float:
    """Read a time.

    Raises:
        ValueError: It is none that `ALLOWED` describes.
    """
    text = text.upper()
    if short := _YEAR_OR_MONTH.fullmatch(text):
        text += "-01" if short[1] else "-01-01"
    if "T" in text or ":" in text.partition(" ")[2].partition(" ")[0]:
        date, separator, time = text.partition("T" if "T" in text else " ")
        text = date + separator + _LOST_PLUS.sub("+", time)
    text, ends = _MIDNIGHT_AFTER.subn("00", text)
    try:
        time_of_day = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError("no time") from None
    if time_of_day.tzinfo is None:
        time_of_day = time_of_day.replace(tzinfo=UTC)
    return time_of_day.timestamp() + ends * timedelta(days=1).total_seconds()
