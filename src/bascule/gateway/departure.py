"""Ends the wait for what an upstream says to an upgrade: the browser has left, or we are about to.

A notebook server may take half a minute to answer an upgrade. Whoever has closed the tab by
then, and perhaps opened it again and again, must not hold a slot for each time. The
connection is only looked at, once a second: bytes that wait there are the forwarder's.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from bascule.gateway.waits import Waits

if TYPE_CHECKING:
    from bascule.gateway.legs import Leg

LOOK_EVERY: Final = 1.0
"""Seconds between two looks. Most upstreams have answered before the first."""


class Departure:
    """Cancels the current task when the browser leaves, or we do.

    Use as a context manager around what takes long. When the browser leaves, what is inside is
    cancelled and the task goes on behind it, with `seen` true; when we do, with `ours` true. If somebody
    else cancels the task as well, it ends.

    Args:
        leg: The browser's connection.
        looks: Made by `departures`, for all browsers.
    """

    __slots__ = ("_cancelled", "_leg", "_looks", "_task", "ours", "seen")

    def __init__(self, leg: Leg, looks: Waits[Departure]) -> None:
        self._leg = leg
        self._looks = looks
        self.seen = False
        self.ours = False

    def __enter__(self) -> Departure:
        self._task = asyncio.current_task()
        assert self._task is not None
        self._cancelled = self._task.cancelling()
        self._looks.enter(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> bool:
        self._looks.leave(self)
        if not (self.seen or self.ours):
            return False
        assert self._task is not None
        # As `asyncio.timeout` has it: what is left is somebody else's.
        return self._task.uncancel() <= self._cancelled and kind is asyncio.CancelledError

    def look(self) -> None:
        """Cancel the task if the browser has left, else look again later."""
        if self._leg.is_gone():
            self.seen = True
            self._cancel()
        else:
            self._looks.enter(self)

    def leave(self) -> None:
        """Cancel the task: whatever the browser does, we cannot wait any longer."""
        self.ours = True
        self._looks.leave(self)  # a task that is cancelled twice would stay so
        self._cancel()

    def _cancel(self) -> None:
        assert self._task is not None
        self._task.cancel()


def departures() -> Waits[Departure]:
    """Return what looks after all browsers that wait for their upstreams."""
    return Waits(LOOK_EVERY, Departure.look)
