"""Waits that all last equally long, with one timer for all of them.

Every opening handshake has two and every plain connection one, and hardly any ever runs
out; if each set a timer of the event loop, that would cost a tenth of a handshake.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator

__all__ = ["Waits"]

_Who = TypeVar("_Who", bound="Hashable")


class Waits(Generic[_Who]):
    """Objects that wait, in the order in which their time runs out.

    Args:
        seconds: How long each may wait.
        expire: Called with each object whose time is up; it waits no longer when this is called.
    """

    def __init__(self, seconds: float, expire: Callable[[_Who], None]) -> None:
        self._seconds = seconds
        self._expire = expire
        self._loop = asyncio.get_running_loop()
        # Not a plain dict: finding its first entry takes a step for each entry that was removed before it.
        self._due: OrderedDict[_Who, float] = OrderedDict()
        self._armed = False

    def __len__(self) -> int:
        return len(self._due)

    def __contains__(self, who: _Who) -> bool:
        return who in self._due

    def __iter__(self) -> Iterator[_Who]:
        return iter(tuple(self._due))

    def enter(self, who: _Who) -> None:
        """Begin to wait; a second call does not extend a wait."""
        if who in self._due:
            return
        due = self._loop.time() + self._seconds
        self._due[who] = due
        if not self._armed:
            self._armed = True
            self._loop.call_at(due, self._look)

    def leave(self, who: _Who) -> None:
        """Wait no longer; doing so twice is harmless."""
        self._due.pop(who, None)

    def _look(self) -> None:
        """End the waits whose time is up, and look again when the next one's is."""
        now = self._loop.time()
        try:
            while self._due and next(iter(self._due.values())) <= now:
                who, _ = self._due.popitem(last=False)
                self._expire(who)
        finally:  # an error of `expire` must not keep the others waiting for ever
            self._armed = bool(self._due)
            if self._armed:
                self._loop.call_at(next(iter(self._due.values())), self._look)
