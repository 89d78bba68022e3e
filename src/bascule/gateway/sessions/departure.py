"""Ends the wait for an upstream's answer to an upgrade when the browser leaves, or the gateway is about to.

A notebook server may take half a minute to answer an upgrade. A user who has closed the tab by
then, and perhaps opened it again and again, must not hold a lease for each time. We check the
connection once a second and read nothing from it: bytes that wait there are for the forwarder.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Protocol

from bascule.gateway.connections.waits import Waits

if TYPE_CHECKING:
    from bascule.gateway.connections.legs import Leg

__all__ = ["LOOK_EVERY", "Departing", "Departure", "departures"]

LOOK_EVERY: Final = 1.0
"""Seconds between two checks. Most upstreams have answered before the first."""


class Departing(Protocol):
    """What waits for an upstream, for a browser that may leave."""

    def __hash__(self) -> int:
        """Each is itself alone."""

    def look(self) -> None:
        """End the wait if the browser has left, else check again later."""

    def leave(self) -> None:
        """End the wait: whatever the browser does, we cannot wait any longer."""


class Departure:
    """Cancels the current task when the browser leaves, or the gateway does.

    Use as a context manager around what takes long. When the browser leaves, the body of the block is
    cancelled and the task goes on after the block. If the task is cancelled for another reason as well, the
    cancellation goes on.

    Args:
        leg: The browser's connection.
        looks: Made by `departures`, for all browsers.

    Attributes:
        by_browser: Whether the browser has left.
        by_us: Whether the gateway leaves.
    """

    __slots__ = ("_cancelled", "_leg", "_looks", "_task", "by_browser", "by_us")

    def __init__(self, leg: Leg, looks: Waits[Departing]) -> None:
        self._leg = leg
        self._looks = looks
        self.by_browser = False
        self.by_us = False

    def __enter__(self) -> Departure:
        self._task = asyncio.current_task()
        assert self._task is not None
        self._cancelled = self._task.cancelling()
        self._looks.enter(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> bool:
        self._looks.leave(self)
        if not (self.by_browser or self.by_us):
            return False
        assert self._task is not None
        # Like `asyncio.timeout`: a cancellation that is left is not ours.
        return self._task.uncancel() <= self._cancelled and kind is asyncio.CancelledError

    def look(self) -> None:
        """See `Departing.look`; the task is cancelled."""
        if self._leg.is_gone():
            self.by_browser = True
            self._cancel()
        else:
            self._looks.enter(self)

    def leave(self) -> None:
        """See `Departing.leave`; the task is cancelled."""
        self.by_us = True
        self._looks.leave(self)  # `__exit__` undoes one cancellation only, so `look` must not add another
        self._cancel()

    def _cancel(self) -> None:
        assert self._task is not None
        self._task.cancel()


def departures() -> Waits[Departing]:
    """Return the `Waits` for all browsers that wait for their upstreams."""
    return Waits(LOOK_EVERY, lambda departing: departing.look())
