"""Where connections wait that ask for nothing, and what happens when they are too many or wait too long.

A connection that owes us a head, or whose client owes us that it reads, costs a descriptor and is bounded in
number and in time. One whose request is being answered waits for nothing of these.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Protocol

from bascule.gateway.connections.bounded import Bounded
from bascule.gateway.connections.farewell import dropped
from bascule.gateway.connections.unread import Stalls, Unread
from bascule.gateway.connections.waits import Waits

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from bascule.configuration.config import Limits

__all__ = ["Expiring", "Waiting"]


class Expiring(Protocol):
    """A connection that waits for a head."""

    def __hash__(self) -> int:
        """Each is itself alone."""

    def expire(self) -> None:
        """End the connection, or let it wait again: its head was not whole in time."""


class Waiting:
    """All connections of one server that wait.

    Args:
        limits: How long.
        newcomers: Most at once of the connections of that name.
        idle: Likewise.
        arrives: Seconds for which a connection counts as arriving.
        hurries: Tells whether a closed connection is cut soon, since others need its room.

    Attributes:
        newcomers: Connections that wait for their first head, or whose next head has begun and is not whole.
        idle: Connections between two requests, on which nothing has begun, and those whose client has to read
            answers before the next one can begin.
        stalls: Cuts connections whose client reads nothing of an answer.
        unread: Counts and watches those whose client has to read answers before the next request can begin.
        heads: Connections that wait for their first head, or for the rest of one that has begun; each has
            ``limits.handshakeTimeout`` for it.
        arriving: Connections on which a head, or the TLS handshake before it, began lately.
    """

    def __init__(
        self, limits: Limits, *, newcomers: int, idle: int, arrives: float, hurries: Callable[[], bool]
    ) -> None:
        self._hurries = hurries
        self.newcomers = Bounded(newcomers)
        self.idle = Bounded(idle)
        self.stalls = Stalls(limits.send_timeout)
        self.unread = Unread(self.stalls, self.idle, self._shed)
        self.heads = Waits[Expiring](limits.handshake_timeout, lambda connection: connection.expire())
        self.arriving = Waits[Hashable](arrives, lambda _: None)
        self._dropped = dropped()
        self._closed = Stalls(limits.send_timeout)

    def leave(self, connection: Expiring) -> None:
        """Let a connection wait for no head any more: it has one, or has ended."""
        self.heads.leave(connection)
        self.arriving.leave(connection)
        self.newcomers.leave(connection)
        self.idle.leave(connection)

    def _shed(self, transport: asyncio.Transport) -> None:
        """Drop a connection whose client reads no answers; while we retire it keeps its time for that."""
        if self._hurries():
            self.drop(transport)

    def drop(self, transport: asyncio.Transport) -> None:
        """Close a connection without aborting it: the end of its answer may still be on its way.

        If the client does not take that, or does not answer the end of TLS, in `FAREWELL_SECONDS`, the
        connection is aborted. While we retire no other client of ours needs its room, and it may take as long
        as it likes, unless it takes nothing for ``limits.sendTimeout``: it keeps this process alive.
        """
        transport.close()
        if self._hurries():
            self._dropped.enter(transport)
        else:
            self._closed.until_end(transport)
