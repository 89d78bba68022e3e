"""Connections whose client has not read the answers before: they are bounded, and cut if it reads nothing.

A client may send request after request and read no answer. The answers to what it sent before fill the
kernel's buffers and ours, and the next request waits until there is room again. As long as it waits, its
connection is one that asks for nothing: it counts among those, beyond whose bound the oldest is dropped.
"""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING, Final

from bascule.gateway.taking import taken
from bascule.gateway.waits import Waits

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterator

    from bascule.gateway.bounded import Bounded

__all__ = ["READS_NOTHING", "Unread"]

READS_NOTHING: Final = 60.0
"""Seconds for which a client may read nothing while we wait for it: nginx's ``send_timeout``. A client that
reads a little in each such time may take as long as it likes."""


class Unread:
    """All connections of a listener that wait for this.

    Args:
        bound: Counts them, beside others. It is given the transports, so that a connection may be in it for
            another reason as well.
        drop: Ends the one that has been there longest, if there are too many.
    """

    def __init__(self, bound: Bounded, drop: Callable[[asyncio.Transport], None]) -> None:
        self._bound = bound
        self._drop = drop
        self._looks = Waits(READS_NOTHING, self._look)
        self._taken: dict[asyncio.Transport, int | None] = {}

    @contextlib.contextmanager
    def waiting(self, transport: asyncio.Transport) -> Iterator[None]:
        """Count a connection for the length of a block, in which nothing is written to it."""
        self._bound.enter(transport, partial(self._drop, transport))
        self._taken[transport] = taken(transport)
        self._looks.enter(transport)
        try:
            yield
        finally:
            self._looks.leave(transport)
            del self._taken[transport]
            self._bound.leave(transport)

    def _look(self, transport: asyncio.Transport) -> None:
        """Cut a connection whose client has read nothing since the last look."""
        before, now = self._taken[transport], taken(transport)
        if now == before:
            transport.abort()
        else:
            self._taken[transport] = now
            self._looks.enter(transport)
