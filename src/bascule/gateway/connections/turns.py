"""Turns at something scarce: a bounded number at once, of which one kind has only a part."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["Turns"]


class Turns:
    """Who has a turn, and who waits for one, in the order in which they came.

    Nobody waits for one whose kind has all the turns that it may have.

    Args:
        most: Most turns at once.
        most_of_one: Most of them for one kind.
    """

    def __init__(self, most: int, most_of_one: int) -> None:
        self._most = most
        self._most_of_one = most_of_one
        self._under_way: Counter[str] = Counter()
        # Not a plain dict: finding its first entry takes a step for each entry that was removed before it.
        self._waiting: OrderedDict[asyncio.Future[None], str] = OrderedDict()

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._waiting)

    @contextlib.asynccontextmanager
    async def turn(self, kind: str) -> AsyncIterator[None]:
        """Wait for a turn, and have it for the length of a block.

        Cancellation: safe.
        """
        if self._fits(kind):  # then nobody of this kind waits
            self._under_way[kind] += 1
        else:
            await self._wait(kind)
        try:
            yield
        finally:
            self._end(kind)

    def _fits(self, kind: str) -> bool:
        return self._under_way.total() < self._most and self._under_way[kind] < self._most_of_one

    async def _wait(self, kind: str) -> None:
        ours = asyncio.get_running_loop().create_future()
        self._waiting[ours] = kind
        try:
            await ours
        except BaseException:
            if self._waiting.pop(ours, None) is None:
                self._end(kind)  # we were given a turn in the same moment
            raise

    def _end(self, kind: str) -> None:
        """End a turn; give it to who has waited longest of those that may have it."""
        self._under_way[kind] -= 1
        if not self._under_way[kind]:
            del self._under_way[kind]  # kinds come from URLs: those that are over must not add up
        for other, its in self._waiting.items():
            if self._fits(its) and not other.done():  # one that was cancelled leaves by itself
                del self._waiting[other]
                self._under_way[its] += 1
                other.set_result(None)
                return
