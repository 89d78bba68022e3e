"""Does an ``Accept`` field (RFC 9110 §12.5.1) allow ``text/plain``?

There is one representation to give, so nothing is negotiated: the question is yes or no.
Prometheus asks for its newer formats first and for ``text/plain`` or ``*/*`` behind them.

Rules of this file: pure; whatever a client sends gives an answer, never an error.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["accepts_plain_text"]

_ELEMENT: Final = re.compile(r'(?:[^,"]|"(?:[^"\\]|\\.)*+"?)++')
"""One list element; a comma inside a quoted string does not end it. Possessive: linear on any input."""

_WEIGHT: Final = re.compile(r";\s*q\s*=\s*([01](?:\.\d{0,3})?)\s*(?:;|$)", re.IGNORECASE)

_RANGES: Final = ("*/*", "text/*", "text/plain")
"""Ranges that match, the most specific last: it decides (RFC 9110 §12.5.1)."""


def accepts_plain_text(accept: str | None) -> bool:
    """Tell whether a text/plain answer is acceptable.

    Args:
        accept: The field's value; ``None`` or an empty one accepts everything.

    Returns:
        False when no range matches, or the most specific one that does has weight 0.
        Parameters such as ``version`` are ignored: a client that wants another version of the
        text format reads this one too.
    """
    if accept is None or not accept.strip():
        return True
    decisive, weight = -1, 0.0
    for element in _ELEMENT.findall(accept):
        media_range = element.partition(";")[0].strip().lower()
        if media_range not in _RANGES:
            continue
        specificity = _RANGES.index(media_range)
        found = _WEIGHT.search(element)
        value = float(found[1]) if found else 1.0
        # The same range with different parameters may come twice: the highest weight counts.
        if specificity > decisive or (specificity == decisive and value > weight):
            decisive, weight = specificity, value
    return weight > 0.0
