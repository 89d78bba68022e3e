"""How the proxy stops, in order.

1. the first ``SIGTERM`` or ``SIGINT``: the gateway stops accepting and refuses new
   sessions (readiness is false from here on);
2. sessions end by themselves, or are told 1012 at a frame boundary, spread over time;
3. when ``drain.timeout`` has nearly passed, the gateway and former gateways cut what is left;
4. when nothing is left, the gateway waits up to ``drain.lastScrape`` for one more scrape;
5. the supervisor ends the children;
6. exit status 0. A second signal goes straight to the end.

Rules of this file: it decides; the supervisor carries out.
"""

from __future__ import annotations

import math
import signal
import time
from typing import TYPE_CHECKING, Final, Protocol

import structlog

from bascule.handover.control import BeginDrain, send_control
from bascule.policy.drainplan import cut_after

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bascule.configuration.config import Drain
    from bascule.supervisor.child import Child
    from bascule.supervisor.gateways import Gateways
    from bascule.supervisor.sockets import Listeners

__all__ = ["ChildrenToEnd", "Shutdown"]

_log = structlog.get_logger()

_GRACE: Final = 2.0
"""Seconds beyond drain.timeout and drain.lastScrape for the gateway to report; then for children to leave."""

_ECHO: Final = 0.01
"""Seconds in which a second signal counts as the first, which may be sent to the process and to its group."""


class ChildrenToEnd(Protocol):
    """What this file needs of `bascule.supervisor.children.Children`."""

    def __iter__(self) -> Iterator[Child]:
        """All children, alive or not."""

    def hang_up(self, child: Child) -> None:
        """Close a child's control channel: the child ends what it has and leaves."""

    def open_sessions(self) -> int:
        """Return how many sessions the forwarders carry."""


class Shutdown:
    """Whether the proxy stops, and how far it is.

    Args:
        gateways: The gateways, of which the serving one is told to drain.
        listeners: The listening sockets, of which the public ones are closed.
        children: All children.

    Attributes:
        draining_since: Monotonic time at which a drain began, by a signal or by ``POST /drain``; ``None``
            while there is no drain.
        signalled_at: Monotonic time of the last signal; 0.0 before the first.
        deadline: Monotonic time at which `on_deadline` is to be called.
        ending: Whether the children have been told to leave: no process is started any more.
        exit_status: Exit status of the supervisor.
    """

    def __init__(self, gateways: Gateways, listeners: Listeners, children: ChildrenToEnd) -> None:
        self._gateways = gateways
        self._listeners = listeners
        self._children = children
        self._signals = 0
        self._drained = False
        self._is_cut = False
        self._up_at = math.inf
        self.signalled_at = 0.0
        self.draining_since: float | None = None
        self.deadline = math.inf
        self.ending = False
        self.exit_status = 0

    @property
    def asked_for(self) -> bool:
        """Whether a signal asked for a stop."""
        return self._signals > 0

    @property
    def over(self) -> bool:
        """Whether the children have been told to leave, and have left."""
        return self.ending and not any(child.alive for child in self._children)

    def on_signal(self, number: int, drain: Drain) -> None:
        """Begin to stop; at a second signal, stop at once.

        Args:
            number: The signal.
            drain: How long the stop may take.
        """
        now = time.monotonic()
        if self._signals and now - self.signalled_at < _ECHO:
            return
        self._signals += 1
        self.signalled_at = now
        if self._signals > 1:
            _log.warning("second signal: stopping at once", sessions=self._children.open_sessions())
            self.finish()
            self._kill()
            return
        _log.info(
            "stopping", signal=signal.Signals(number).name, drain_timeout=drain.timeout, again="stops at once"
        )
        self.deadline = now + cut_after(drain.timeout)
        self._up_at = now + drain.timeout + drain.last_scrape + _GRACE
        self._listeners.close_public()
        self._drain()

    def _drain(self) -> None:
        """Tell the serving gateway to drain; a prepared successor takes over first, and is told then."""
        if self.draining_since is None:
            self.draining_since = self.signalled_at
        gateways = self._gateways
        if gateways.successor is not None:
            if gateways.prepared:
                return
            self._children.hang_up(gateways.successor)
        control = gateways.serving.control
        try:
            if control is None or not gateways.serving.alive:
                raise ConnectionError
            send_control(control, BeginDrain(self.signalled_at))
        except OSError:
            self.finish()

    def on_drained(self) -> None:
        """The serving gateway has nothing left, or its time is up."""
        self._drained = True
        self.finish_if_done()

    def finish_if_done(self) -> None:
        """End the children if the gateway has drained, and former gateways have left or were told to."""
        if self._drained and (self._is_cut or not self._gateways.former):
            self.finish()

    def finish(self) -> None:
        """Tell the children to leave: they have nothing left, or no time left."""
        if self.ending:
            return
        self.ending = True
        self.deadline = time.monotonic() + _GRACE
        for child in self._children:
            self._children.hang_up(child)

    def give_up(self, status: int) -> None:
        """Kill children that are still starting: told to leave, each would log that nothing listens to it.

        Args:
            status: Exit status of the supervisor.
        """
        self.exit_status = status
        self.finish()
        self._kill()

    def on_deadline(self) -> None:
        """Time is up: cut what is left, then end the children, then kill those that have not left."""
        if self.ending:
            self._kill()
        elif self._is_cut:
            self.finish()
        else:
            self._cut()

    def _cut(self) -> None:
        """Tell former gateways to cut what they still have; the serving one does so by itself."""
        self._is_cut = True
        self.deadline = self._up_at
        for former in self._gateways.former:
            self._children.hang_up(former)
        self.finish_if_done()

    def _kill(self) -> None:
        for child in self._children:
            child.signal(signal.SIGKILL)
        self.deadline = math.inf
