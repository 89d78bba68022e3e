"""Wires the gateway together: start, serve, drain, stop."""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import gc
import os
import random
import secrets
import socket
import time
from typing import TYPE_CHECKING, Final

import structlog

from bascule._version import __version__
from bascule.admin.api import Administration
from bascule.errors import ConfigError
from bascule.gateway.admin_listener import AdminListener
from bascule.gateway.admission import Admission
from bascule.gateway.auth import SessionTokens
from bascule.gateway.dispatch import Dispatch
from bascule.gateway.drain import Draining
from bascule.gateway.exchanges import Exchanges
from bascule.gateway.fence import Fence
from bascule.gateway.figures import Figures
from bascule.gateway.http import HttpServer
from bascule.gateway.hub import HubLedger
from bascule.gateway.life import Life, Stage
from bascule.gateway.listener import Listener
from bascule.gateway.metrics import GatewayMetrics
from bascule.gateway.outcomes import Outcomes
from bascule.gateway.own_paths import OwnPaths
from bascule.gateway.plain import PlainProxy
from bascule.gateway.redirect import RedirectListener
from bascule.gateway.refusal import Refuser
from bascule.gateway.registry import Registry
from bascule.gateway.upstream import Dialler
from bascule.gateway.view import View
from bascule.handover import control, signals
from bascule.handover.control import ASK_AGAIN, read_control, send_control
from bascule.handover.counters import TURN_EVERY, CounterFile, GatewayWord
from bascule.handover.descriptors import PacketReader
from bascule.handover.journal import Journal
from bascule.handover.setup import GatewaySetup
from bascule.policy.budget import SessionBudget
from bascule.policy.certificate import admin_context, server_context, upstream_context
from bascule.policy.config import Config
from bascule.policy.drainplan import cut_after
from bascule.policy.hubroutes import HubRoutes
from bascule.policy.requestrules import RequestRules
from bascule.policy.routes import RouteTable
from bascule.protocol.closing import End
from bascule.tasks import are_serving, spawn
from bascule.telemetry.accesslog import AccessLog
from bascule.telemetry.durations import Durations
from bascule.telemetry.exposition import Exposition
from bascule.telemetry.garbage import CollectorClock
from bascule.telemetry.load import LoadMeter
from bascule.telemetry.logs import configure
from bascule.telemetry.processes import Processes
from bascule.telemetry.reservoir import Reservoir
from bascule.telemetry.spare import Spare

if TYPE_CHECKING:
    from collections.abc import Callable

    from bascule.gateway.legs import Leg
    from bascule.handover.descriptors import Packet
    from bascule.policy.routes import Routes
    from bascule.protocol.http1 import BadHead, RequestHead

_log = structlog.get_logger()

_SETTLE: Final = 2.0
"""Seconds that handshakes under way have, twice, before another gateway takes over. No gateway accepts
connections meanwhile."""

_LOOK_EVERY: Final = 0.1
"""Seconds between checks whether a leaving gateway has any work left."""

_CLOSING: Final = 0.25
"""Seconds for requests to the admin listener in the end: half of what a stop leaves for the processes."""

_FORWARDERS_READY: Final = 10.0
"""Seconds to wait until each forwarder has listed its sessions; then the gateway serves without the rest."""


class Gateway:
    """Everything of the gateway process.

    Args:
        setup: What the supervisor told this process.
        config: The configuration that is part of it.
    """

    def __init__(self, setup: GatewaySetup, config: Config) -> None:
        self._setup = setup
        self._config = config
        self._counters = CounterFile(setup.counters, setup.forwarders)
        self._words = self._counters.gateway(setup.place)
        self._budget = SessionBudget(
            config.websocket_proxy.max_sessions_per_app,
            config.limits.max_sessions_per_user,
            {route.name: most for route in config.routes if (most := route.max_sessions) is not None},
        )
        self._registry = Registry()
        self._life = Life(setup.draining)
        self._control = socket.socket(fileno=setup.control)
        self._reader = PacketReader()
        configured = RouteTable(config.routes)
        self._routes: Routes = configured
        self._hub: HubLedger | None = None
        if config.hub.enabled:
            self._routes = routes = HubRoutes(configured, config.hub)
            self._hub = HubLedger(routes, Journal(setup.hub))
        self._tokens = SessionTokens(config.auth.session, config.asks_for_sessions)
        self._durations = Durations(
            Reservoir(
                config.metrics.duration_half_life, config.metrics.recent_window, random=random.Random().random
            )
        )
        self._access = AccessLog(structlog.get_logger().bind())
        self._called = asyncio.Event()
        self._stopped = asyncio.Event()
        self._expected = set(range(setup.forwarders))
        self._drain_task: asyncio.Task[None] | None = None
        self._saying: asyncio.Task[None] | None = None
        self._listener: Listener | None = None
        self._admin_listener: AdminListener | None = None
        self._redirect: RedirectListener | None = None
        outcomes = Outcomes(
            self._registry,
            self._budget,
            self._durations,
            self._access,
            self._counters,
            self._words,
            self._hub,
        )
        self._dispatch = Dispatch(
            self._registry.by_slot, outcomes.on_live, outcomes.on_ended, outcomes.on_lost, self._life
        )
        self._exchanges = Exchanges(config.limits.max_http_requests, self._words)
        # Built now and not at its first use: when no descriptor is left, OpenSSL reads no CA, reports
        # nothing, and would trust no upstream from then on.
        upstream_tls = upstream_context(config.upstream_tls)
        fence = Fence(each for each in (setup.public, setup.admin, setup.redirect) if each >= 0)
        rules = RequestRules(
            config, self._routes, self._tokens.require, f"bascule-{secrets.token_hex(4)}".encode()
        )
        self._proxy = PlainProxy(
            config, rules, self._words, self._access, self._exchanges, self._life, upstream_tls, fence,
            hub=self._hub,
        )  # fmt: skip
        self._refuser = Refuser(config.limits, self._life)
        self._admission = Admission(
            config=config, rules=rules, budget=self._budget, registry=self._registry,
            dispatch=self._dispatch, dialler=Dialler(config, upstream_tls, fence), refuser=self._refuser,
            access_log=self._access, words=self._words, exchanges=self._exchanges,
            life=self._life, generation=setup.generation,
        )  # fmt: skip
        processes = Processes(spare=Spare())
        self._load = load = LoadMeter(setup.forwarders, processes.read, window=config.metrics.cpu_window)
        self._collector = CollectorClock(time.perf_counter_ns, self._words, GatewayWord.COLLECTOR_NANOSECONDS)
        self._view = View(
            config=config, sources=setup.sources, counters=self._counters, budget=self._budget,
            registry=self._registry, dispatch=self._dispatch, durations=self._durations, load=load,
            life=self._life, tokens=self._tokens, hub=self._hub,
            restarts=setup.restarts, started_at=setup.started_at, forwarder_restarts=setup.forwarder_restarts,
            reloaded=setup.reloaded, begin_drain=self._begin_drain,
        )  # fmt: skip
        self._metrics = GatewayMetrics(
            self._view, self._counters, self._durations, load, processes,
            version=__version__, is_start=setup.generation == 0,
        )  # fmt: skip
        self._view.attach(Exposition(self._metrics.readers(), time.monotonic))
        self._administration = Administration(self._view)
        self._figures = Figures(
            Journal(setup.figures),
            {
                "durations": self._durations,
                "load": self._load,
                "hour": self._administration.live,
                "scrapes": self._administration.scrapes,
            },
        )
        self._own_paths = OwnPaths(
            self._administration.public, self._routes, self._proxy, self._life, is_hubs=config.hub.enabled
        )
        self._http = HttpServer(self._own_paths.handle, config, self._upgrade, self._life)

    # -- life -----------------------------------------------------------------------------

    async def run(self) -> None:
        """Serve until told to stop."""
        loop = asyncio.get_running_loop()
        for number in signals.HANDLED:
            # The supervisor decides when to stop, and closes the control channel.
            loop.add_signal_handler(number, lambda: None)
        self._control.setblocking(False)
        loop.add_reader(self._control.fileno(), self._on_control)
        self._collector.install()
        self._count_turn()
        tls, admin_tls = server_context(self._config.tls), admin_context(self._config.admin_tls)
        # By now we have found whatever is wrong with the configuration: while the former gateway, if any,
        # still serves, and before a forwarder tells us outcomes that no other gateway would learn.
        with contextlib.suppress(OSError):  # the supervisor has hung up: we are leaving
            send_control(self._control, control.Prepared())
        if self._setup.successor:
            await self._called.wait()
            if self._stopped.is_set():
                return
        # Before the forwarders report sessions that ended meanwhile: we add their durations to this sample,
        # and on a route of the Hub we count them as activity.
        self._figures.take_over()
        if self._hub is not None:
            self._hub.take_over()
        await self._wait_forwarders()
        if self._stopped.is_set():
            return
        await self._proxy.start()
        if self._life.draining:
            self._begin_drain()
        public = socket.socket(fileno=self._setup.public)
        self._listener = Listener(self._config, public, self._http, self._upgrade, tls)
        self._redirect = self._redirects_to(public)
        self._life.go_on(Stage.SERVING)
        self._admin_listener = AdminListener(self._administration.app, self._config, admin_tls)
        admin = socket.socket(fileno=self._setup.admin)
        admin.setblocking(False)
        await self._admin_listener.start(admin)
        ticking = spawn(self._metrics.keep_ticking(time.monotonic), "metrics tick")
        if self._hub is not None:
            # A route that we do not know yet would be 404; until we know all, browsers wait in the backlog.
            await self._hub.complete.wait()
        self._listener.start()
        if self._redirect is not None:
            self._redirect.start()
        gc.collect()
        gc.freeze()
        with contextlib.suppress(OSError):  # the supervisor has hung up: we are leaving
            send_control(self._control, control.Ready())
        if self._hub is None:
            # JupyterHub can no longer remove any of its routes, so in a later gateway they would be stale.
            Journal(self._setup.hub).replace(())
        await self._stopped.wait()
        if self._life.accepts:  # the supervisor hung up without an order to drain or retire: leave at once
            self._go_on(Stage.STOPPING)
        ticking.cancel()
        # Requests under way have had their time: see `_say_drained`.
        self._http.cut()
        if self._redirect is not None:
            self._redirect.cut()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSING):
                await self._refuser.wait_none_held()
                await self._admin_listener.close()
                await self._proxy.close()

    def _redirects_to(self, public: socket.socket) -> RedirectListener | None:
        """Return the listener that redirects http to the public one, if one is configured."""
        if self._setup.redirect < 0:
            return None
        port = self._config.tls.redirect_port or public.getsockname()[1]  # a Unix socket needs the former
        return RedirectListener(self._config, socket.socket(fileno=self._setup.redirect), port, self._life)

    def _go_on(self, stage: Stage) -> None:
        """Go on to a stage; if it accepts no more, close the listeners and tell held browsers at once."""
        accepted = self._life.accepts
        self._life.go_on(stage)
        if accepted and not self._life.accepts:
            self._refuser.release()
            assert self._listener is not None
            self._listener.close()
            if self._redirect is not None:
                spawn(self._redirect.close(), "close redirect listener", serves=True)

    async def _wait_forwarders(self) -> None:
        """Wait until every forwarder has listed its sessions: the count must be exact.

        The wait ends after `_FORWARDERS_READY` seconds, or when the supervisor hangs up.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_FORWARDERS_READY):
                while self._unheard() and not self._stopped.is_set():
                    self._dispatch.changed.clear()
                    await self._dispatch.changed.wait()
        if self._stopped.is_set():
            return
        if unheard := self._unheard():
            # The count lacks the sessions of these forwarders until they list them.
            _log.error("serving without some forwarders", unheard=len(unheard), of=len(self._expected))
        if self._registry:
            _log.info("sessions taken over", sessions=len(self._registry))

    def _unheard(self) -> set[int]:
        """Return the slots of the forwarders that have not listed their sessions yet."""
        return self._expected - {slot for slot, link in self._dispatch.links.items() if link.listed}

    def _count_turn(self) -> None:
        """Let the supervisor see that our event loop still runs."""
        self._words[GatewayWord.TURNS] += 1
        asyncio.get_running_loop().call_later(TURN_EVERY, self._count_turn)

    async def _upgrade(
        self, leg: Leg, head: RequestHead | BadHead, early: bytes, peer: str, secure: bool
    ) -> None:
        try:  # noqa: SIM105 -- contextlib.suppress costs a microsecond, once for each handshake
            await self._admission.upgrade(leg, head, early, peer, secure)
        except OSError:
            pass

    # -- the supervisor -----------------------------------------------------------------------

    def _on_control(self) -> None:
        while True:
            try:
                packet = self._reader.receive(self._control)
            except BlockingIOError:
                return
            if not packet.data:
                asyncio.get_running_loop().remove_reader(self._control.fileno())
                self._stopped.set()
                self._called.set()
                self._dispatch.changed.set()
                if self._hub is not None:
                    self._hub.complete.set()
                return
            self._on_message(read_control(packet.data), packet)

    def _on_lost_channel(self, slot: int, number: int) -> None:
        """Ask for another channel after `ASK_AGAIN`: without one the forwarder can be given no session."""
        _log.warning("no descriptors left for a forwarder's channel", slot=slot, seconds=ASK_AGAIN)
        self._ask_later(control.ChannelLost(slot, number))

    def _ask_later(self, lost: control.ChannelLost) -> None:
        asyncio.get_running_loop().call_later(ASK_AGAIN, self._ask_channel, lost)

    def _ask_channel(self, lost: control.ChannelLost) -> None:
        try:
            send_control(self._control, lost)
        except OSError:  # full; or the supervisor has hung up, and we are leaving
            self._ask_later(lost)

    def _on_message(self, message: control.ControlMessage, packet: Packet) -> None:
        match message:
            case control.ForwarderChannel() if not packet.complete:
                self._on_lost_channel(message.slot, message.number)
            case control.ForwarderChannel(slot, pid, hot_path, restarts):
                self._dispatch.add(slot, pid, restarts, hot_path, socket.socket(fileno=packet.descriptors[0]))
                self._view.set_restarts(slot, restarts)
            case control.BeginDrain() if self._life.stage is Stage.STARTING:
                # We do not know yet which sessions the forwarders carry, so there would be none to end. The
                # supervisor repeats the order when we are ready.
                self._life.drain(message.since)
            case control.BeginDrain():
                self._go_on(Stage.STOPPING)
                self._life.drain(message.since)
                self._begin_drain()
                deadline = message.since + cut_after(self._config.drain.timeout)
                if self._saying is None:  # the supervisor repeats an order that it gave before we were ready
                    self._saying = spawn(self._say_drained(deadline), "say drained")
            case control.Serve():
                if message.draining is not None:
                    self._life.drain(message.draining)
                self._expected = set(message.slots)
                self._view.reloaded = message.reloaded
                self._called.set()
                if self._life.draining and self._life.stage is not Stage.STARTING:
                    self._begin_drain()  # the former gateway was told to drain in its last moment
            case control.Retire():
                spawn(self._retire(), "retire")
            case control.NotReloaded():
                self._view.reloaded = False
            case _:
                _log.error("unknown control message", message=type(message).__name__)

    async def _retire(self) -> None:
        """Leave routes and figures to another gateway, finish what was begun here, and then leave.

        Sessions go on in the forwarders. Handshakes under way have `_SETTLE` to become sessions. Plain
        requests, and sessions whose TLS this process pumps, keep it alive.
        """
        assert self._admin_listener is not None
        if self._hub is not None:
            # While we still accept: a forwarder that hangs delays the list, and browsers would have to wait.
            self._hub.observe(await self._view.sessions())
        self._go_on(Stage.RETIRING)
        self._http.idle.shed(len(self._http.idle))
        await self._http.wait_for_heads()
        self._go_on(Stage.SETTLING)
        await self._admission.settle(_SETTLE)
        self._figures.leave()
        if self._hub is not None:
            self._hub.retire()
        # We have answered probes until now. Requests that have begun to arrive keep this process alive.
        spawn(self._admin_listener.retire(), "close admin listener", serves=True)
        self._go_on(Stage.RETIRED)
        if self._drain_task is not None:
            self._drain_task.cancel()  # the other gateway goes on: from here no session can be told any more
        with contextlib.suppress(OSError):  # the supervisor has hung up: we are leaving
            send_control(self._control, control.HasRetired())
        await self._wait_unlinked()
        while self._has_work():
            # An answer that began before may have left its connection open for another request.
            self._http.idle.shed(len(self._http.idle))
            await asyncio.sleep(_LOOK_EVERY)
        self._stopped.set()

    def _has_work(self) -> bool:
        """Tell whether this process, which accepts no more connections, still answers or pumps any.

        A connection counts until the browser has taken the answer, not only until the answer is written.
        """
        return len(self._http.connections) > 0 or are_serving()

    async def _wait_unlinked(self) -> None:
        """Wait until every forwarder has another gateway: until then it reports outcomes to this one.

        If a forwarder hangs, the supervisor kills it, and only this gateway knows which sessions it had.
        """
        while self._dispatch.links:
            self._dispatch.changed.clear()
            await self._dispatch.changed.wait()

    def _begin_drain(self) -> None:
        """Begin a drain, or go on with the one that another gateway began."""
        if self._drain_task is not None:
            return
        since = self._life.drain(time.monotonic())
        self._refuser.release()  # other instances may have room; a browser that comes back here is held again
        draining = Draining(
            self._config, self._drain_rows, self._drain_one, lambda: self._budget.in_use,
            self._words, since,
        )  # fmt: skip
        self._drain_task = spawn(draining.run(), "drain")
        with contextlib.suppress(OSError):  # the supervisor has hung up: we are leaving
            send_control(self._control, control.DrainBegun(since))

    async def _drain_rows(self) -> list[tuple[int, float]]:
        listed = {live.id: live.idle for live in await self._dispatch.list_sessions()}
        return [(record.id, listed.get(record.id, 0.0)) for record in self._registry]

    def _drain_one(self, identifier: int, within: float) -> bool:
        record = self._registry.get(identifier)
        return record is None or self._dispatch.close_session(
            record.slot, identifier, End.DRAIN, within=within
        )

    async def _say_drained(self, deadline: float) -> None:
        """Tell the supervisor when sessions, plain requests and refusals are over, or time is up.

        Before that, wait until `/metrics` has been read once more (``drain.lastScrape``).
        """
        assert self._drain_task is not None
        await asyncio.wait([self._drain_task])
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(deadline):
                await self._exchanges.wait_idle()
                # An exchange ends when its answer is written, though the client has not taken all of it yet;
                # a refusal ends when we have read what the browser still sends.
                while self._http.unsent or self._refuser.under_way:  # noqa: ASYNC110 - counts are no events
                    await asyncio.sleep(_LOOK_EVERY)
        await self._administration.scrapes.wait_again(self._config.drain.last_scrape)
        with contextlib.suppress(OSError):  # the supervisor has hung up: we are leaving
            send_control(self._control, control.Drained(len(self._registry)))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    """Return what makes the event loop: uvloop, or asyncio's slower one where uvloop is not installed."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop


def main() -> None:
    """Run a gateway with the setup named by the command line."""
    faulthandler.enable()  # prints the stack when compiled code fails or the supervisor gives us up
    setup = GatewaySetup.read()
    config = Config.model_validate_json(setup.config)
    configure(config.log.level, config.log.format, process="gateway")

    async def run() -> None:
        await Gateway(setup, config).run()

    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(run())
    except ConfigError as error:
        for problem in error.problems:
            _log.error("configuration cannot be used", problem=problem)
        os._exit(2)
