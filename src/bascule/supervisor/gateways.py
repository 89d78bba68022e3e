"""Which gateways there are: one that serves, perhaps a successor that is to take over, and former ones.

Rules of this file: bookkeeping; `bascule.supervisor.main` starts, asks and ends the processes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bascule.handover.counters import GATEWAYS
from bascule.supervisor.gatewaychild import GatewayChild

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Gateways"]


class Gateways:
    """All gateways of one proxy.

    Attributes:
        serving: The gateway that accepts and admits, or is to be started again for that.
        successor: A gateway that is to take over from it; ``None`` while there is none.
        former: Gateways that accept nothing more, and have not ended yet.
        started: How many gateways were started.
        restarts: How many died while they were the serving one.
    """

    def __init__(self) -> None:
        self.serving = GatewayChild(0)
        self.successor: GatewayChild | None = None
        self.former: list[GatewayChild] = []
        self.started = 0
        self.restarts = 0

    def __iter__(self) -> Iterator[GatewayChild]:
        yield self.serving
        if self.successor is not None:
            yield self.successor
        yield from self.former

    @property
    def prepared(self) -> bool:
        """Whether there is a successor that could take over now."""
        return self.successor is not None and self.successor.prepared

    def prepare(self) -> GatewayChild | None:
        """Make a successor, not started yet; return ``None`` if other gateways occupy all places."""
        taken = {child.place for child in self}
        place = next((place for place in range(GATEWAYS) if place not in taken), None)
        if place is None:
            return None
        self.successor = GatewayChild(place)
        return self.successor

    def take_over(self, now: float) -> GatewayChild:
        """Make the successor the serving gateway, and return the one that was.

        Args:
            now: Monotonic time in seconds.
        """
        assert self.successor is not None
        before, self.serving = self.serving, self.successor
        self.successor = None
        if before.alive:
            before.former_since = now
            self.former.append(before)
        return before
