"""Connections that have not sent a whole request head yet, bounded in number.

A connection costs a descriptor before it has said a word, so a thousand silent ones must
not keep anybody out: beyond the bound the one that has waited longest goes. How long
each may wait is its owner's to see to.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable


class Newcomers:
    """All of them, in the order in which they came.

    Args:
        most: Most at once (``limits.maxHandshakes``).
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._waiting: OrderedDict[Hashable, Callable[[], None]] = OrderedDict()

    def enter(self, connection: Hashable, drop: Callable[[], None]) -> None:
        """Count a connection; the one that has waited longest is dropped if it is one too many.

        Args:
            connection: What `leave` will name.
            drop: Ends the connection. It is no newcomer any more when this is called.
        """
        while len(self._waiting) >= self._most:
            _, drop_oldest = self._waiting.popitem(last=False)
            drop_oldest()
        self._waiting[connection] = drop

    def leave(self, connection: Hashable) -> None:
        """Forget a connection, which has sent its head or has ended; doing so twice is harmless."""
        self._waiting.pop(connection, None)
