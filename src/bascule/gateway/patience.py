"""Time for which something is waited for, while this process runs.

A wait of the event loop's is over by the clock. Where others have the processor, or a container is frozen, it
may be over before we have looked once whether what we wait for has come: the loop looks at its timers first.
So the time is counted in parts, each of which begins when the one before was seen to end.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Patience"]

_PARTS: Final = 10
"""Parts of a wait: one tenth of it must pass between two looks of the loop to make the whole any longer."""


class Patience:
    """The block of an ``async with`` may take so long, and longer by what this process stood still.

    Args:
        seconds: How long; 0 for no limit.

    Raises:
        TimeoutError: At the end of the block, which was cancelled because its time was up.
    """

    __slots__ = ("_deadline", "_left", "_part", "_timer")

    def __init__(self, seconds: float) -> None:
        self._deadline = asyncio.timeout(None)
        self._part = seconds / _PARTS
        self._left = _PARTS
        self._timer: asyncio.TimerHandle | None = None

    @property
    def left(self) -> float:
        """Seconds that are left; a part that has begun counts as whole."""
        return self._left * self._part

    async def __aenter__(self) -> Self:
        """Begin."""
        await self._deadline.__aenter__()
        if self._part:
            self._timer = asyncio.get_running_loop().call_later(self._part, self._pass)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End; a block whose time was up has failed."""
        if self._timer is not None:
            self._timer.cancel()
        await self._deadline.__aexit__(kind, error, trace)

    def _pass(self) -> None:
        loop = asyncio.get_running_loop()
        self._left -= 1
        if self._left:
            self._timer = loop.call_later(self._part, self._pass)
        else:
            self._deadline.reschedule(loop.time())
