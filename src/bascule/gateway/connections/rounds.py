"""So many in each turn of the loop: what takes long for one must not take many times as long for all."""

from __future__ import annotations

import asyncio
from collections import deque

__all__ = ["Rounds"]


class Rounds:
    """Who may go on in this turn of the loop, and who waits for a later one, in the order in which they came.

    Args:
        most: How many go on in a turn.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._loop = asyncio.get_running_loop()
        self._going = 0  # in this turn
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def has_waiting(self) -> bool:
        """Whether anybody waits for a later turn."""
        return bool(self._waiting)

    async def turn(self) -> None:
        """Wait until it is one's turn; in the usual case it is.

        Cancellation: safe.
        """
        if self._going < self._most:
            self._going += 1
            if self._going == 1:
                self._loop.call_soon(self._next)
        else:
            ours = self._loop.create_future()
            self._waiting.append(ours)
            await ours

    def _next(self) -> None:
        self._going = 0
        while self._waiting and self._going < self._most:
            one = self._waiting.popleft()
            if not one.done():  # who was cancelled waits no more
                one.set_result(None)
                self._going += 1
        if self._going:
            self._loop.call_soon(self._next)
