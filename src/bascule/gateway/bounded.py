"""Connections of one sort, bounded in number: those without a head yet, between two requests, or heard out.

A connection costs a descriptor while it says nothing, so a thousand silent ones must not
keep anybody out: beyond the bound the one that has been there longest goes. How long
each may stay is its owner's to see to.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable


class Bounded:
    """All of one sort, in the order in which they came.

    Args:
        most: Most at once.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._inside: OrderedDict[Hashable, Callable[[], None]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._inside)

    def enter(self, connection: Hashable, drop: Callable[[], None]) -> None:
        """Count a connection; the one that has been there longest is dropped if it is one too many.

        A second call changes nothing.

        Args:
            connection: What `leave` will name.
            drop: Ends the connection. It is not inside any more when this is called.
        """
        if connection in self._inside:
            return
        self.shed(len(self._inside) + 1 - self._most)
        self._inside[connection] = drop

    def leave(self, connection: Hashable) -> None:
        """Forget a connection that is of this sort no more, or has ended; doing so twice is harmless."""
        self._inside.pop(connection, None)

    def shed(self, count: int) -> None:
        """Drop the `count` oldest, or all if there are fewer."""
        for _ in range(min(count, len(self._inside))):
            _, drop = self._inside.popitem(last=False)
            drop()
