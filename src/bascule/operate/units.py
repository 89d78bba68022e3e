"""Seconds and bytes as a person on call reads them: one glance, as on the status page."""

from __future__ import annotations

from typing import Final

__all__ = ["age", "size"]

_MINUTE: Final = 60
_HOUR: Final = 3600
_DAY: Final = 86400
_SIZES: Final = ("kB", "MB", "GB", "TB")


def age(seconds: float) -> str:
    """Write a time in its two largest units: ``8 s``, ``12 min``, ``2 h 5 min``, ``3 d 4 h``."""
    whole = round(seconds)
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return f"{whole // _MINUTE} min"
    if whole < _DAY:
        return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE} min"
    return f"{whole // _DAY} d {whole % _DAY // _HOUR} h"


def size(count: float) -> str:
    """Write a number of bytes with three digits: ``512 B``, ``1.20 kB``, ``86.1 MB``."""
    if count < 1000:
        return f"{count:.0f} B"
    for unit in _SIZES:
        count /= 1000
        if count < 999.5 or unit == _SIZES[-1]:
            break
    digits = 2 if count < 9.995 else 1 if count < 99.95 else 0
    return f"{count:.{digits}f} {unit}"
