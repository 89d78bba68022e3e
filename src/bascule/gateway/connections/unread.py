"""Connections that wait for their client to read: they are cut if it reads nothing.

In the middle of an answer that is all: ``limits.maxHttpRequests`` bounds how many answers are under way. So
it is on a connection that was closed, and whose client has not taken the end of its answer.

But a client may also send request after request and read no answer. The answers to what it sent before fill
the kernel's buffers and ours, and the next request waits until there is room again. As long as it waits, its
connection is one that asks for nothing: it counts among those, beyond whose bound the oldest is dropped.
"""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING

from bascule.gateway.connections.taking import taken
from bascule.gateway.connections.waits import Waits

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterator

    from bascule.gateway.connections.bounded import Bounded

__all__ = ["Stalls", "Unread"]


class Stalls:
    """Connections with an answer, of which the client has to read more.

    Args:
        seconds: For how long a client may read nothing (``limits.sendTimeout``); 0 for any time.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._looks = Waits(seconds, self._look)
        self._taken: dict[asyncio.Transport, int | None] = {}

    @contextlib.contextmanager
    def waiting(self, transport: asyncio.Transport) -> Iterator[None]:
        """Watch a connection for the length of a block, in which nothing is written to it."""
        if not self._seconds:
            yield
            return
        self._taken[transport] = taken(transport)
        self._looks.enter(transport)
        try:
            yield
        finally:
            self._looks.leave(transport)
            self._taken.pop(transport, None)

    def until_end(self, transport: asyncio.Transport) -> None:
        """Watch a connection that was closed until it has ended; not one that waits in a block meanwhile."""
        if self._seconds:
            self._taken[transport] = taken(transport)
            self._looks.enter(transport)

    def _look(self, transport: asyncio.Transport) -> None:
        """Cut a connection whose client has read nothing since the last look; forget one that ended."""
        before, now = self._taken.pop(transport), taken(transport)
        if now is None or now == before:
            transport.abort()
        else:
            self._taken[transport] = now
            self._looks.enter(transport)


class Unread:
    """Connections whose client has to read answers before its next request can begin.

    Args:
        stalls: Cuts those whose client reads nothing.
        bound: Counts them, beside others. It is given the transport, since the connection itself may be in it
            for another reason.
        drop: Ends the one that has been there longest, if there are too many.
    """

    def __init__(self, stalls: Stalls, bound: Bounded, drop: Callable[[asyncio.Transport], None]) -> None:
        self._stalls = stalls
        self._bound = bound
        self._drop = drop

    @contextlib.contextmanager
    def waiting(self, transport: asyncio.Transport) -> Iterator[None]:
        """Count and watch a connection for the length of a block, in which nothing is written to it."""
        self._bound.enter(transport, partial(self._drop, transport))
        try:
            with self._stalls.waiting(transport):
                yield
        finally:
            self._bound.leave(transport)
