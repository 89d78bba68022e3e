"""Waits that all last equally long, with one timer for all of them.

Every opening handshake has two and every plain connection one, and hardly any ever runs
out; if each set a timer of the event loop, that would cost a tenth of a handshake.

Time in which this process stood still does not count, and who has come meanwhile is looked at first: see
`bascule.gateway.connections.patience`.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import TYPE_CHECKING, Generic, TypeVar

from bascule.gateway.connections.patience import PARTS

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
        self._part = seconds / PARTS
        self._expire = expire
        self._loop = asyncio.get_running_loop()
        # Not a plain dict: finding its first entry takes a step for each entry that was removed before it.
        self._due: OrderedDict[_Who, float] = OrderedDict()
        self._armed = False
        self._next = 0.0  # when to look next
        self._stood = 0.0  # seconds for which we stood still: what is due is due so much later
        self._stood_last = False  # whether we did before the last look

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
        now = self._loop.time()
        if not self._armed:
            self._armed = True
            self._look_at(now + self._part)
        # Behind the next look we have stood still, as that will tell.
        self._due[who] = min(now, self._next) - self._stood + self._seconds

    def leave(self, who: _Who) -> None:
        """Wait no longer; doing so twice is harmless."""
        self._due.pop(who, None)

    def _look(self) -> None:
        """End the waits whose time is up, and look again: when the next one's is, or sooner."""
        now = self._loop.time()
        late = max(now - self._next, 0.0)
        self._stood += late
        self._stood_last = late > self._part and not self._stood_last
        try:
            while self._due and not self._stood_last and self._first_due() <= now:
                who, _ = self._due.popitem(last=False)
                self._expire(who)
        finally:  # an error of `expire` must not keep the others waiting for ever
            self._armed = bool(self._due)
            if self._armed:
                soon = now + self._part
                self._look_at(soon if self._stood_last else min(soon, self._first_due()))

    def _first_due(self) -> float:
        return next(iter(self._due.values())) + self._stood

    def _look_at(self, when: float) -> None:
        self._next = when
        self._loop.call_at(when, self._look)
