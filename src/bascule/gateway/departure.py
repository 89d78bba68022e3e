"""Notices that a browser has left while its upstream is being dialled.

A notebook server may take half a minute to answer an upgrade. Whoever has closed the tab by
then, and perhaps opened it again and again, must not hold a slot for each time. The
connection is only looked at, once a second: bytes that wait there are the forwarder's.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from bascule.gateway.legs import Leg

LOOK_EVERY: Final = 1.0
"""Seconds between two looks. Most upstreams have answered before the first."""


class Departure:
    """Cancels the current task when the browser leaves.

    Use as a context manager around what takes long. When it ends with ``CancelledError`` and
    `seen` is true, the browser has left; call `forgive`, and the task goes on.

    Args:
        leg: The browser's connection.
    """

    __slots__ = ("_handle", "_leg", "_loop", "_task", "seen")

    def __init__(self, leg: Leg) -> None:
        self._leg = leg
        self._loop = asyncio.get_running_loop()
        self.seen = False

    def __enter__(self) -> Departure:
        self._task = asyncio.current_task(self._loop)
        self._handle = self._loop.call_later(LOOK_EVERY, self._look)
        return self

    def __exit__(self, *_: object) -> None:
        self._handle.cancel()

    def _look(self) -> None:
        assert self._task is not None
        if self._leg.is_gone():
            self.seen = True
            self._task.cancel()
        else:
            self._handle = self._loop.call_later(LOOK_EVERY, self._look)

    def forgive(self) -> None:
        """Take the cancellation back."""
        assert self._task is not None
        self._task.uncancel()
