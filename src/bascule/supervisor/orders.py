"""What the supervisor tells the other processes: when it starts them, and while they run.

Rules of this file: it tells; when, and what follows, is decided elsewhere. That a process has just died
and cannot be told is no error.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import asdict
from typing import TYPE_CHECKING

import structlog

from bascule.gateway.setup import GatewaySetup
from bascule.handover.control import ASK_AGAIN, BeginDrain, ChangeIntervals, Serve, send_control
from bascule.handover.journal import Journal
from bascule.handover.setup import ForwarderSetup
from bascule.supervisor.forwarderchild import ForwarderChild
from bascule.supervisor.gatewaychild import GatewayChild

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bascule.configuration.config import Config
    from bascule.handover.counters import CounterFile
    from bascule.handover.setup import ChildSetup
    from bascule.supervisor.agenda import DoLater
    from bascule.supervisor.child import Child
    from bascule.supervisor.gateways import Gateways
    from bascule.supervisor.shutdown import Shutdown
    from bascule.supervisor.sockets import Listeners
    from bascule.supervisor.succession import Succession
    from bascule.supervisor.watchdog import Watchdog

__all__ = ["Orders"]

_log = structlog.get_logger()


class Orders:
    """The orders of one proxy's supervisor, and what its gateways leave each other.

    Args:
        counters: The shared counters.
        listeners: The listening sockets.
        gateways: All gateways.
        forwarders: All forwarders, by slot.
        succession: Has the configurations.
        shutdown: Knows since when the proxy drains.
        watchdog: Knows which forwarders hang.
        do_later: Calls something after that many seconds.
    """

    def __init__(
        self,
        *,
        counters: CounterFile,
        listeners: Listeners,
        gateways: Gateways,
        forwarders: Sequence[ForwarderChild],
        succession: Succession,
        shutdown: Shutdown,
        watchdog: Watchdog,
        do_later: DoLater,
    ) -> None:
        self._counters = counters
        self._listeners = listeners
        self._gateways = gateways
        self._forwarders = forwarders
        self._succession = succession
        self._shutdown = shutdown
        self._watchdog = watchdog
        self._do_later = do_later
        self._started_at = time.time()
        self._figures = Journal.create("bascule-figures")
        self._hub = Journal.create("bascule-hub")

    def setup(self, child: Child, control: int, prints: int) -> ChildSetup:
        """Return the setup of a child that is about to be started.

        Args:
            child: The child.
            control: Descriptor of its end of the control channel.
            prints: Descriptor of its end of the pipe for what it prints.
        """
        gateways, listeners, slots = self._gateways, self._listeners, len(self._forwarders)
        is_successor = child is gateways.successor
        loaded = self._succession.wanted if is_successor else self._succession.loaded
        config, counters = loaded.config, self._counters.descriptor
        if isinstance(child, ForwarderChild):
            return ForwarderSetup(
                control,
                counters,
                slots,
                prints,
                slot=child.slot,
                read_buffer_bytes=config.forwarders.read_buffer_bytes,
                **asdict(_intervals(config)),
            )
        assert isinstance(child, GatewayChild)
        return GatewaySetup(
            control,
            counters,
            slots,
            prints,
            config=config,
            sources=dict(loaded.sources),
            places=dict(loaded.places),
            public=listeners.public.fileno(),
            admin=listeners.admin.fileno(),
            redirect=-1 if listeners.redirect is None else listeners.redirect.fileno(),
            figures=self._figures.descriptor,
            hub=self._hub.descriptor,
            place=child.place,
            generation=gateways.started,
            restarts=gateways.restarts,
            # The gateway learns the restarts with each channel; a forwarder that is down now has none.
            forwarder_restarts=[max(0, each.restarts) for each in self._forwarders],
            successor=is_successor,
            started_at=self._started_at,
            draining=self._shutdown.draining_since,
            reloaded=self._succession.reloaded,
        )

    def serve(self) -> None:
        """Tell the serving gateway to serve, which forwarders to wait for, and of a drain or a reload."""
        channel = self._gateways.serving.control
        if channel is not None:
            # A forwarder that is being started carries nothing, and one that hangs must not be waited for.
            ready = [
                forwarder.slot
                for forwarder in self._forwarders
                if forwarder.ready and not self._watchdog.stands_still(forwarder)
            ]
            with contextlib.suppress(OSError):  # it has just died: its pidfd tells the rest
                send_control(channel, Serve(ready, self._shutdown.draining_since, self._succession.reloaded))

    def begin_drain(self, child: Child) -> None:
        """Tell a gateway that has started meanwhile to drain."""
        assert child.control is not None
        with contextlib.suppress(OSError):  # it has just died: its pidfd tells the rest
            send_control(child.control, BeginDrain(self._shutdown.signalled_at))

    def change_intervals(self, forwarder: Child) -> None:
        """Tell a forwarder the times of the configuration in force; a start tells them as well."""
        if forwarder.control is None:
            return
        try:
            send_control(forwarder.control, _intervals(self._succession.loaded.config))
        except OSError as error:  # it has just died (its pidfd tells the rest), or it reads nothing
            _log.warning("not told of the intervals", forwarder=forwarder.name, error=str(error))
            self._do_later(ASK_AGAIN, lambda: self.change_intervals(forwarder))


def _intervals(config: Config) -> ChangeIntervals:
    """Return the times of a configuration that forwarders go by."""
    proxy, limits = config.websocket_proxy, config.limits
    return ChangeIntervals(
        proxy.heartbeat_interval_ms,
        limits.pong_timeout,
        proxy.session_idle_timeout_ms,
        limits.closing_handshake_timeout,
    )
