"""Ends former gateways that have work left after ``formerGatewayTimeout``.

After a reload, downloads and sessions over TLS keep the gateway alive in which they began, for as long as
their peers like. Each such gateway takes memory, and a place that a later reload may need.

Rules of this file: a gateway that is told to leave cuts what it has; one that does not leave is killed.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Final, Protocol

import structlog

if TYPE_CHECKING:
    from bascule.supervisor.agenda import DoLater
    from bascule.supervisor.child import Child
    from bascule.supervisor.gateways import Gateways

__all__ = ["ChildrenToLeave", "Overtime"]

_log = structlog.get_logger()

_LEAVE: Final = 5.0
"""Seconds that a gateway which was told to leave has for that; it needs half a second."""


class ChildrenToLeave(Protocol):
    """What this file needs of `bascule.supervisor.children.Children`."""

    def hang_up(self, child: Child) -> None:
        """Close a child's control channel: the child ends what it has and leaves."""


class Overtime:
    """Says how long former gateways may work on.

    Args:
        gateways: All gateways.
        children: All children.
        do_later: Calls something after that many seconds.
    """

    def __init__(self, gateways: Gateways, children: ChildrenToLeave, do_later: DoLater) -> None:
        self._gateways = gateways
        self._children = children
        self._do_later = do_later
        self._timeout = 0.0
        self._next = math.inf  # when we look next

    def allow(self, timeout: float) -> None:
        """Let each former gateway work on for so long, those included that have worked on for some time.

        Args:
            timeout: Seconds; 0 for ever.
        """
        self._timeout = timeout
        self._look()

    def end(self, timeout: float) -> float:
        """End those that have worked on for longer than ``timeout``.

        Returns:
            Monotonic time at which the next one will have done so; infinity if there is none, or no time-out.
        """
        now = time.monotonic()
        soonest = math.inf
        for child in self._gateways.former if timeout else ():
            due = child.former_since + timeout
            if due > now:
                soonest = min(soonest, due)
            elif child.control is not None:
                self._tell(child, now - child.former_since)
        return soonest

    def _tell(self, child: Child, seconds: float) -> None:
        """Tell a gateway to leave."""
        assert child.process is not None
        pid = child.process.pid
        _log.warning("a former gateway's time is up", pid=pid, seconds=round(seconds))
        self._children.hang_up(child)
        self._do_later(_LEAVE, lambda: child.kill(pid))

    def _look(self) -> None:
        """End whose time is up, and come again when the next one's is."""
        now = time.monotonic()
        due = self.end(self._timeout)
        if due < self._next or self._next <= now:
            self._next = due
            if due < math.inf:
                self._do_later(due - now, self._look)
