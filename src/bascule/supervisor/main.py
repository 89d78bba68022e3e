"""The supervisor: binds the sockets, starts the other processes, restarts those that die, stops all in order.

It reads nothing that comes from the network and carries no data, so little can go
wrong in it. It waits for pidfds, control channels, signals and deadlines, and for
nothing else. `bascule.supervisor.children` starts the others and notices their deaths;
`bascule.supervisor.watchdog` kills a child that hangs, which is then treated as one that died.
`bascule.supervisor.orders` says what the others are told, `bascule.supervisor.shutdown` how the proxy stops,
and `bascule.supervisor.succession` how another configuration comes into force. This file says what follows
from a message, a death or a signal.
"""

from __future__ import annotations

import contextlib
import selectors
import signal
import time
from typing import TYPE_CHECKING, Final

import structlog

from bascule.configuration.certificate import check_certificates
from bascule.configuration.loading import check_files, placed
from bascule.errors import ConfigError
from bascule.handover import control, signals
from bascule.handover.counters import CounterFile
from bascule.supervisor import cores, openfiles, renewal, scheduling, terminal
from bascule.supervisor.agenda import Agenda
from bascule.supervisor.announcement import announce, warn
from bascule.supervisor.caught import CaughtSignals
from bascule.supervisor.channels import Channels
from bascule.supervisor.child import Child, check_kernel, in_words
from bascule.supervisor.children import Children
from bascule.supervisor.forwarderchild import ForwarderChild
from bascule.supervisor.gatewaychild import GatewayChild
from bascule.supervisor.gateways import Gateways
from bascule.supervisor.losses import Losses
from bascule.supervisor.orders import Orders
from bascule.supervisor.orphans import Orphans
from bascule.supervisor.shutdown import Shutdown
from bascule.supervisor.sockets import Listeners
from bascule.supervisor.succession import Succession
from bascule.supervisor.usage import Usage
from bascule.supervisor.watchdog import Watchdog
from bascule.telemetry.logs import configure
from bascule.telemetry.processes import Processes
from bascule.telemetry.strays import log_strays

if TYPE_CHECKING:
    from collections.abc import Callable

    from bascule.configuration.config import Config
    from bascule.configuration.loading import Loaded
    from bascule.handover.setup import ChildSetup
    from bascule.supervisor.children import Death

__all__ = ["Supervisor", "run"]

_log = structlog.get_logger()

_LONGEST_WAIT: Final = 3600.0
"""Most seconds of one wait: epoll_wait(2) counts milliseconds in 32 bits, and a drain may exceed that."""

_BAD_CONFIGURATION: Final = 2
"""Exit status of a gateway that cannot use the configuration, and then of the whole proxy."""


class Supervisor:
    """All processes of one proxy.

    Args:
        loaded: The configuration in force.
        listeners: The listening sockets.
        load: Loads the configuration again; ``None`` if it came from no file that could change.
        on_serving: Called once, when the first gateway serves.
    """

    def __init__(
        self,
        loaded: Loaded,
        listeners: Listeners,
        load: Callable[[], Loaded] | None,
        on_serving: Callable[[], object] = lambda: None,
    ) -> None:
        config = loaded.config
        self._load = load
        self._listeners = listeners
        count = config.forwarders.count or cores.available()
        self._slots = min(count, config.websocket_proxy.grizzly_worker_pool_max_size)
        # Before any other descriptor is opened: if the limit is too low, this is the error to report.
        openfiles.prepare(config.websocket_proxy.max_sessions_per_app, self._slots)
        self._counters = CounterFile.create(self._slots)
        self._selector = selectors.DefaultSelector()
        self._gateways = Gateways()
        self._forwarders = [ForwarderChild(slot) for slot in range(self._slots)]
        self._agenda = Agenda()
        do_later = self._agenda.do_later
        self._watchdog = Watchdog(self._counters, config.watchdog, do_later, self._on_still)
        self._usage = Usage(self._counters, Processes(), do_later)
        self._children = Children(
            self._gateways, self._forwarders, self, selector=self._selector, counters=self._counters,
            watchdog=self._watchdog, usage=self._usage, do_later=do_later,
        )  # fmt: skip
        self._succession = Succession(loaded, self._gateways, self._children, self, do_later)
        self._shutdown = Shutdown(self._gateways, listeners, self._children)
        self._losses = Losses(self._counters, self._gateways, do_later)
        self._channels = Channels(self._gateways, self._forwarders, do_later)
        self._orders = Orders(
            counters=self._counters, listeners=listeners, gateways=self._gateways,
            forwarders=self._forwarders, succession=self._succession, shutdown=self._shutdown,
            watchdog=self._watchdog, do_later=do_later,
        )  # fmt: skip
        self._announced = False
        self._on_serving = on_serving
        self._on_terminal = terminal.is_there()

    def run(self) -> int:
        """Serve until told to stop; return the exit status."""
        with contextlib.closing(self._channels), contextlib.closing(CaughtSignals()) as caught:
            self._serve(caught)
        _log.info("stopped")
        return self._shutdown.exit_status

    def _serve(self, caught: CaughtSignals) -> None:
        """Start the children, and act on events until the last child has left."""
        self._selector.register(caught.wake, selectors.EVENT_READ, lambda: self._on_signals(caught.take()))
        self._start_all()
        self._watchdog.run()
        self._usage.run()
        self._agenda.do_later(renewal.LOOK_EVERY, self._look_for_renewal)
        Orphans(self._children, self._agenda.do_later).run()
        while not self._shutdown.over:
            deadline = min(self._shutdown.deadline, self._agenda.next_at)
            for key, _ in self._selector.select(min(_LONGEST_WAIT, max(0.0, deadline - time.monotonic()))):
                # An earlier callback may have closed this descriptor, and its number may be in use again.
                if self._selector.get_map().get(key.fd) is key:
                    callback: Callable[[], None] = key.data
                    callback()
            self._on_time(time.monotonic())

    @property
    def _config(self) -> Config:
        """The configuration in force."""
        return self._succession.loaded.config

    @property
    def is_leaving(self) -> bool:
        """See `SuccessionHost.is_leaving`."""
        return self._shutdown.ending or self._shutdown.asked_for

    # -- children ---------------------------------------------------------------------------

    def _start_all(self) -> None:
        for child in (*self._forwarders, self._gateways.serving):
            try:
                self._children.start(child)
            except OSError as error:
                # There is no session to lose yet. The exit status tells the service manager, which may retry.
                _log.error("a process could not be started", child=child.name, error=str(error))
                self._shutdown.give_up(1)
                return

    def setup(self, child: Child, control: int, prints: int) -> ChildSetup:
        """See `Household.setup`."""
        return self._orders.setup(child, control, prints)

    def on_message(self, child: Child, message: control.ControlMessage) -> None:
        """See `Household.on_message`."""
        match message:
            case control.Ready():
                self._on_ready(child, message.hot_path)
            case control.ChannelLost():
                if message.problem:
                    _log.error("channel failed", slot=message.slot, error=message.problem)
                elif isinstance(child, ForwarderChild):  # a gateway logs this itself
                    _log.warning("no descriptors left for the gateway's channel", child=child.name)
                given_up = child is self._gateways.serving
                self._channels.replace(message.slot, message.number, given_up=given_up)
            case control.Misread():
                _log.error("a control message cannot be read", child=child.name, error=message.problem)
            case control.DrainBegun():
                # A drain that POST /drain began outlives the gateway that was asked, and its time runs on.
                self._shutdown.draining_since = message.since
                if child in self._gateways.former:
                    self._orders.serve()
            case control.Drained():
                self._shutdown.on_drained()
            case control.Prepared() if child is self._gateways.serving:
                self._gateways.serving.prepared = True
                self._watchdog.works(child)  # its loop runs, and nobody serves until it does
                if self._announced:
                    # A first gateway waits for all forwarders; now we know which have sessions to list.
                    self._orders.serve()
                self._channels.connect_all()
            case control.Prepared() if child is self._gateways.successor:
                self._succession.on_prepared()
            case control.HasRetired() if child is self._gateways.serving:
                self._succession.on_retired()
            case _:
                _log.error("unknown control message", child=child.name, message=type(message).__name__)

    def _on_ready(self, child: Child, hot_path: str) -> None:
        assert child.process is not None
        child.ready = True
        if child.restarts:
            _log.info("a process is back", child=child.name, restarts=child.restarts)
        if isinstance(child, ForwarderChild):
            self._watchdog.works(child)
            child.hot_path = hot_path
            self._channels.connect(child)
            return
        # Only now: while it starts, a gateway needs the processor as much as other processes.
        scheduling.stand_back(child.process.pid)
        if self._shutdown.asked_for:
            self._orders.begin_drain(child)
        elif not self._announced:
            hot_path = self._forwarders[0].hot_path
            announce(self._listeners, self._succession.loaded, forwarders=self._slots, hot_path=hot_path)
            self._on_serving()
        self._announced = True
        self._succession.go_on()

    def on_death(self, child: Child, death: Death) -> None:
        """See `Household.on_death`."""
        if self._shutdown.ending:
            return
        if isinstance(child, GatewayChild):
            self._channels.on_gateways_death(child)
        if isinstance(child, ForwarderChild):
            _say_died(child, death, sessions=death.sessions)
            self._losses.on_forwarders_death(child.slot, child.restarts, death.sessions)
            self._agenda.do_later(death.delay, lambda: self._children.start_again(child))
        elif child is self._gateways.serving:
            self._on_servings_death(child, death)
        elif child is self._gateways.successor:
            self._succession.on_successors_death(in_words(death.status))
        elif child in self._gateways.former:
            self._gateways.former.remove(child)
            left = len(self._gateways.former)
            _log.info("a former gateway has left", status=in_words(death.status), left=left)
            self._shutdown.finish_if_done()

    def _on_servings_death(self, child: Child, death: Death) -> None:
        if death.status == _BAD_CONFIGURATION and not self._announced:
            # The gateway refused the configuration and logged why; the next one would do the same. Once
            # we have served, a file that has gone bad since (a certificate) must not end the sessions.
            self._shutdown.exit_status = _BAD_CONFIGURATION
            self._shutdown.finish()
            return
        _say_died(child, death)
        self._losses.settle()
        self._gateways.restarts += 1
        if self._succession.on_servings_death():
            return
        if self._shutdown.asked_for:
            # No gateway is left to pace the drain: the forwarders end their sessions themselves.
            self._shutdown.finish()
            return
        self._agenda.do_later(death.delay, lambda: self._serve_again(child))

    def _serve_again(self, child: Child) -> None:
        """Start a gateway again that died, unless a reload began meanwhile: its successor serves at once."""
        if self._gateways.successor is None:
            self._children.start_again(child)

    def _on_still(self) -> None:
        """A process stands still: a gateway that is about to serve must not wait for it any longer."""
        serving = self._gateways.serving
        if self._announced and serving.prepared and not serving.ready:
            self._orders.serve()

    def _on_time(self, now: float) -> None:
        for action in self._agenda.take(now):
            if not self._shutdown.ending:
                action()
        if now >= self._shutdown.deadline:
            self._shutdown.on_deadline()

    # -- another configuration ----------------------------------------------------------------

    def _look_for_renewal(self) -> None:
        self._agenda.do_later(renewal.LOOK_EVERY, self._look_for_renewal)
        self._succession.look_for_renewal(self._load)

    def go_over(self) -> None:
        """See `SuccessionHost.go_over`."""
        config = self._config
        configure(config.log.level, config.log.format, process="supervisor")
        warn(self._succession.loaded)
        if not self.is_leaving:
            try:
                self._listeners.set_options(config.sockets)
            except (OSError, ConfigError) as error:  # `check_options` found them good a moment ago
                _log.error("the listening sockets keep their old options", error=str(error))
            try:
                openfiles.prepare(config.websocket_proxy.max_sessions_per_app, self._slots)
            except ConfigError as error:  # the limit was lowered from outside; running forwarders keep theirs
                _log.error("a forwarder that starts will take no session", error=str(error))
        self._orders.serve()
        self._channels.connect_all()
        for forwarder in self._forwarders:
            self._orders.change_intervals(forwarder)
        self._watchdog.begin_anew(config.watchdog)
        self._watchdog.works(self._gateways.serving)  # no extra time to start: until it serves, nobody does

    # -- signals ------------------------------------------------------------------------------

    def _on_signals(self, numbers: list[int]) -> None:
        reloads = False
        for number in numbers:
            if number in signals.IGNORED:
                _log.warning("signal ignored", signal=signal.Signals(number).name)
            elif number == signals.HANG_UP and self._load is not None and not self._on_terminal:
                reloads = True  # reload once, however many signals came
            else:
                self._shutdown.on_signal(number, self._config.drain)
        if reloads:
            assert self._load is not None
            self._succession.begin(self._load)


def _say_died(child: Child, death: Death, **more: int) -> None:
    """Log a death after which another process is started."""
    said = in_words(death.status)
    _log.error("a process died", child=child.name, pid=death.pid, status=said, restart_in=death.delay, **more)


def run(
    loaded: Loaded,
    listeners: Listeners | None = None,
    load: Callable[[], Loaded] | None = None,
    patience: float = 0.0,
    on_serving: Callable[[], object] = lambda: None,
) -> int:
    """Run the proxy until it is told to stop.

    Args:
        loaded: The configuration in force.
        listeners: Where to listen, for a caller that had to know the ports beforehand; bound here when None.
        load: Loads the configuration again, for a reload; raises `ConfigError` if it cannot be used.
        patience: Seconds to wait for an address that another process has.
        on_serving: Called once, when the first gateway serves; may write, but starts no thread.

    Returns:
        The exit status: 0; 2 when the gateway could not use the configuration; 1 after another failure.

    Raises:
        ConfigError: The configuration cannot be used here, such as an address in use.
    """
    config = loaded.config
    try:
        check_files(config)
        check_certificates(config)
        check_kernel()
        configure(config.log.level, config.log.format, process="supervisor")
        log_strays()
        bound = listeners or Listeners.open(config, patience)
    except ConfigError as error:
        raise ConfigError(placed(error.problems, loaded.places)) from error
    with contextlib.closing(bound):
        return Supervisor(loaded, bound, load, on_serving).run()
