"""Time for which something is waited for, while this process runs.

A wait of the event loop's is over by the clock. Where others have the processor, or a container is frozen, it
may be over before we have looked once whether what we wait for has come: the loop looks at its timers first.
So the time is counted in parts, each of which begins when the one before was seen to end; and if we stood
still at the end of the last one, there is one more. `Waits` counts in the same way.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

__all__ = ["PARTS", "Patience"]

PARTS: Final = 10
"""Parts of a wait: one tenth of it must pass between two looks of the loop to make the whole any longer."""


class Patience:
    """The block of an ``async with`` may take so long, and longer by what this process stood still.

    Args:
        seconds: How long; 0 for no limit.

    Raises:
        TimeoutError: At the end of the block, which was cancelled because its time was up.
    """

    __slots__ = ("_deadline", "_due", "_is_last", "_left", "_part", "_timer")

    def __init__(self, seconds: float) -> None:
        self._deadline = asyncio.timeout(None)
        self._part = seconds / PARTS
        self._left = PARTS
        self._is_last = False
        self._timer: asyncio.TimerHandle | None = None

    @property
    def left(self) -> float:
        """Seconds that are left; a part that has begun counts as whole."""
        return self._left * self._part

    async def __aenter__(self) -> Self:
        """Begin."""
        await self._deadline.__aenter__()
        if self._part:
            self._begin_part()
        return self

    def begin_anew(self) -> None:
        """Give it its whole time again; a part that has begun does not count."""
        self._left = PARTS + 1
        self._is_last = False

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        """Let the time of a block not count, since what it waits for is ours to do."""
        if self._timer is None:
            yield
            return
        self._timer.cancel()
        clock = asyncio.get_running_loop().time
        left = self._due - clock()
        try:
            yield
        finally:
            self._await_end(clock() + left)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End; a block whose time was up has failed."""
        if self._timer is not None:
            self._timer.cancel()
        await self._deadline.__aexit__(kind, error, trace)

    def _pass(self) -> None:
        now = asyncio.get_running_loop().time()
        self._left -= 1
        if not (self._left or self._is_last) and now - self._due > self._part:
            self._left = 1  # what has come meanwhile is looked at first
            self._is_last = True
        if self._left:
            self._begin_part()
        else:
            self._deadline.reschedule(now)

    def _begin_part(self) -> None:
        self._await_end(asyncio.get_running_loop().time() + self._part)

    def _await_end(self, due: float) -> None:
        self._due = due
        self._timer = asyncio.get_running_loop().call_at(due, self._pass)
