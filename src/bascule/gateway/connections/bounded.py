"""Connections in one state, bounded in number: without a head yet, between two requests, or in a farewell.

A connection costs a descriptor even while it is silent, and a thousand silent ones must not
keep other clients out: beyond the bound the one that has been there longest is dropped. The
owner of a connection decides how long it may stay.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

__all__ = ["Bounded"]


class Bounded:
    """All connections in one state, in the order in which they came.

    Args:
        most: Most at once.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._inside: OrderedDict[Hashable, Callable[[], None]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._inside)

    def has_room(self, count: int) -> bool:
        """Tell whether so many more can enter, and none is dropped."""
        return len(self._inside) + count <= self._most

    def enter(self, connection: Hashable, drop: Callable[[], None]) -> None:
        """Count a connection; if that is one too many, drop the one that has been there longest.

        A second call with the same connection changes nothing.

        Args:
            connection: What `leave` will name.
            drop: Ends the connection. It is no longer counted when this is called.
        """
        if connection in self._inside:
            return
        self.shed(len(self._inside) + 1 - self._most)
        self._inside[connection] = drop

    def leave(self, connection: Hashable) -> None:
        """Forget a connection that has left this state, or has ended; doing so twice is harmless."""
        self._inside.pop(connection, None)

    def shed(self, count: int) -> None:
        """Drop the `count` oldest, or all if there are fewer."""
        for _ in range(min(count, len(self._inside))):
            _, drop = self._inside.popitem(last=False)
            drop()
