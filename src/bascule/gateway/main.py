"""Starts a gateway's parts, lets them serve, and stops them; does what the supervisor orders."""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import gc
import os
import socket
import sys
import time
from typing import TYPE_CHECKING, Final

import structlog

from bascule.configuration.certificate import listener_context
from bascule.configuration.loading import placed
from bascule.errors import ConfigError
from bascule.gateway.connections.patience import Patience
from bascule.gateway.life import Stage
from bascule.gateway.listening.admin import AdminListener
from bascule.gateway.listening.listener import Listener
from bascule.gateway.loopfault import on_loop_fault
from bascule.gateway.parts import Parts
from bascule.gateway.redirect import RedirectListener
from bascule.gateway.retirement import retire
from bascule.gateway.sessions.expiry import keep_closing_expired
from bascule.handover import control, signals
from bascule.handover.counters import TURN_EVERY, GatewayWord
from bascule.handover.journal import Journal
from bascule.policy.drainplan import cut_after
from bascule.tasks import spawn
from bascule.telemetry.logs import configure
from bascule.telemetry.strays import log_strays

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from bascule.gateway.setup import GatewaySetup
    from bascule.handover.descriptors import Packet

__all__ = ["Gateway", "main"]

_log = structlog.get_logger()

_LOOK_EVERY: Final = 0.1
"""Seconds between checks whether what was begun has ended."""

_CLOSING: Final = 0.25
"""Seconds for requests to the admin listener in the end: half of what a stop leaves for the processes."""

_FORWARDERS_READY: Final = 10.0
"""Seconds to wait until each forwarder has listed its sessions; then the gateway serves without the rest."""


class Gateway:
    """The gateway process.

    Args:
        setup: What the supervisor told this process.

    Raises:
        ConfigError: A file that it names cannot be used.
    """

    def __init__(self, setup: GatewaySetup) -> None:
        self._setup = setup
        self._config = setup.config
        self._parts = Parts(setup)
        self._called = asyncio.Event()
        self._stopped = asyncio.Event()
        self._expected = set(range(setup.forwarders))
        self._saying: asyncio.Task[None] | None = None
        self._listener: Listener | None = None
        self._admin_listener: AdminListener | None = None
        self._redirect: RedirectListener | None = None

    # -- life -----------------------------------------------------------------------------

    async def run(self) -> None:
        """Serve until told to stop."""
        tls, admin_tls = self._prepare()
        if not await self._take_over():
            return
        await self._open(tls, admin_tls)
        parts = self._parts
        ticking = spawn(parts.metrics.keep_ticking(time.monotonic), "metrics tick")
        expiring = spawn(self._close_expired(), "close expired sessions")
        await self._accept()
        await self._stopped.wait()
        if parts.life.accepts:  # the supervisor hung up without an order to drain or retire: leave at once
            self._go_on(Stage.STOPPING)
        ticking.cancel()
        expiring.cancel()
        await self._close()

    def _prepare(self) -> tuple[ssl.SSLContext | None, ssl.SSLContext | None]:
        """Get all that is needed to serve, and say so; return the TLS contexts of both listeners.

        By the end we have found whatever is wrong with the configuration: while the former gateway, if any,
        still serves, and before a forwarder tells us outcomes that no other gateway would learn.

        Raises:
            ConfigError: A certificate or a key cannot be used.
        """
        parts = self._parts
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(on_loop_fault)
        for number in signals.HANDLED:
            # The supervisor decides when to stop, and closes the control channel.
            loop.add_signal_handler(number, lambda: None)
        parts.supervisor.start(self._on_message, self._on_end)
        parts.collector.install()
        self._count_turn()
        contexts = listener_context(self._config.tls), listener_context(self._config.admin_tls)
        parts.supervisor.say(control.Prepared())
        return contexts

    async def _take_over(self) -> bool:
        """Learn what the former gateway knew, and what the forwarders carry.

        A successor first waits until it is called. Returns false if the supervisor hung up meanwhile.
        """
        parts = self._parts
        if self._setup.successor:
            await self._called.wait()
            if self._stopped.is_set():
                return False
        # Before the forwarders report sessions that ended meanwhile: we add their durations to this sample,
        # and on a route of the Hub we count them as activity.
        parts.figures.take_over()
        if parts.hub_ledger is not None:
            parts.hub_ledger.take_over()
        await self._wait_forwarders()
        return not self._stopped.is_set()

    async def _open(self, tls: ssl.SSLContext | None, admin_tls: ssl.SSLContext | None) -> None:
        """Make the listeners, and let the admin listener answer."""
        parts = self._parts
        await parts.pools.start()
        if parts.life.draining:
            parts.drain.begin()
        public = socket.socket(fileno=self._setup.public)
        self._listener = Listener(self._config, public, parts.http, parts.admission.upgrade, tls)
        self._redirect = self._redirects_to(public)
        parts.life.go_on(Stage.SERVING)
        self._admin_listener = AdminListener(parts.administration.app, self._config, admin_tls)
        admin = socket.socket(fileno=self._setup.admin)
        admin.setblocking(False)
        await self._admin_listener.start(admin)

    async def _accept(self) -> None:
        """Let browsers connect, as soon as all routes are known, and tell the supervisor."""
        parts = self._parts
        assert self._listener is not None
        if parts.hub is not None:
            # A route that we do not know yet would be 404; until we know all, browsers wait in the backlog.
            await parts.hub.standing.complete.wait()
        self._listener.start()
        if self._redirect is not None:
            self._redirect.start()
        gc.collect()
        gc.freeze()
        parts.supervisor.say(control.Ready())
        if parts.hub is None:
            # JupyterHub can no longer remove any of its routes, so in a later gateway they would be stale.
            Journal(self._setup.hub).replace(())

    async def _close(self) -> None:
        """End all connections. Requests under way have had their time: see `_say_drained`."""
        parts = self._parts
        parts.http.cut()
        if self._redirect is not None:
            self._redirect.cut()
        with contextlib.suppress(TimeoutError):
            async with Patience(_CLOSING):
                # The upstreams do not wait for their turn: aiohttp complains of what is never closed.
                await asyncio.gather(parts.pools.close(), self._close_admin())

    async def _close_admin(self) -> None:
        """Let held browsers and requests to the admin listener end."""
        assert self._admin_listener is not None
        await self._parts.refuser.wait_none_held()
        await self._admin_listener.close()

    async def _close_expired(self) -> None:
        """Close sessions whose login is over, where that is wanted."""
        auth, parts = self._config.auth.session, self._parts
        if auth.close_at_expiry:
            await keep_closing_expired(parts.registry, parts.links.close_session, auth.leeway)

    def _redirects_to(self, public: socket.socket) -> RedirectListener | None:
        """Return the listener that redirects http to the public one, if one is configured."""
        if self._setup.redirect < 0:
            return None
        port = self._config.tls.redirect_port or public.getsockname()[1]  # a Unix socket needs the former
        return RedirectListener(
            self._config, socket.socket(fileno=self._setup.redirect), port, self._parts.life
        )

    def _go_on(self, stage: Stage) -> None:
        """Go on to a stage; if it accepts no more, close the listeners and tell held browsers at once."""
        life = self._parts.life
        accepted = life.accepts
        life.go_on(stage)
        if accepted and not life.accepts:
            self._parts.refuser.release()
            assert self._listener is not None
            self._listener.close()
            if self._redirect is not None:
                spawn(self._redirect.close(), "close redirect listener", serves=True)

    async def _wait_forwarders(self) -> None:
        """Wait until every forwarder has listed its sessions: the count must be exact.

        The wait ends after `_FORWARDERS_READY` seconds, or when the supervisor hangs up.
        """
        changed = self._parts.links.changed
        with contextlib.suppress(TimeoutError):
            async with Patience(_FORWARDERS_READY):
                while self._unheard() and not self._stopped.is_set():
                    changed.clear()
                    await changed.wait()
        if self._stopped.is_set():
            return
        if unheard := self._unheard():
            # The count lacks the sessions of these forwarders until they list them.
            _log.error("serving without some forwarders", unheard=len(unheard), of=len(self._expected))
        if self._parts.registry:
            _log.info("sessions taken over", sessions=len(self._parts.registry))

    def _unheard(self) -> set[int]:
        """Return the slots of the forwarders that have not listed their sessions yet."""
        return self._expected - {slot for slot, link in self._parts.links.by_slot.items() if link.listed}

    def _count_turn(self) -> None:
        """Let the supervisor see that our event loop still runs."""
        self._parts.words[GatewayWord.TURNS] += 1
        asyncio.get_running_loop().call_later(TURN_EVERY, self._count_turn)

    # -- the supervisor -----------------------------------------------------------------------

    def _on_end(self) -> None:
        """Leave: the supervisor has hung up. Whoever waits for it, or for a forwarder, waits no longer."""
        self._stopped.set()
        self._called.set()
        self._parts.links.changed.set()
        if self._parts.hub is not None:
            self._parts.hub.standing.complete.set()

    def _on_message(self, message: control.ControlMessage, packet: Packet) -> None:
        parts, life = self._parts, self._parts.life
        match message:
            case control.ForwarderChannel():
                parts.links.add(message, socket.socket(fileno=packet.descriptors[0]))
                parts.census.set_forwarder_restarts(message.slot, message.restarts)
            case control.Unread(slot) if packet.complete:
                parts.links.read_rest(slot, socket.socket(fileno=packet.descriptors[0]))
            case control.Unread():
                pass  # no descriptor was left for it, and so some sessions have no line in the log
            case control.BeginDrain() if life.stage is Stage.STARTING:
                # We do not know yet which sessions the forwarders carry, so there would be none to end. The
                # supervisor repeats the order when we are ready.
                life.drain(message.since)
            case control.BeginDrain():
                self._go_on(Stage.STOPPING)
                life.drain(message.since)
                parts.drain.begin()
                deadline = message.since + cut_after(self._config.drain.timeout)
                if self._saying is None:  # the supervisor repeats an order that it gave before we were ready
                    self._saying = spawn(self._say_drained(deadline), "say drained")
            case control.Serve():
                if message.draining is not None:
                    life.drain(message.draining)
                self._expected = set(message.slots)
                parts.census.reloaded = message.reloaded
                self._called.set()
                parts.links.changed.set()  # there may be fewer to wait for
                if life.draining and life.stage is not Stage.STARTING:
                    parts.drain.begin()  # the former gateway was told to drain in its last moment
            case control.Retire():
                spawn(self._retire(), "retire")
            case control.NotReloaded():
                parts.census.reloaded = False
            case _:
                _log.error("unknown control message", message=type(message).__name__)

    async def _retire(self) -> None:
        assert self._admin_listener is not None
        await retire(self._parts, self._admin_listener, self._go_on)
        self._stopped.set()

    async def _say_drained(self, deadline: float) -> None:
        """Tell the supervisor when sessions, plain requests and refusals are over, or time is up.

        Before that, wait until `/metrics` has been read once more (``drain.lastScrape``).
        """
        parts = self._parts
        await parts.drain.wait_ended()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(deadline):
                await parts.exchanges.wait_idle()
                # An exchange ends when its answer is written, though the client has not taken all of it yet;
                # a refusal ends when we have read what the browser still sends.
                while parts.http.unsent or parts.refuser.under_way:  # noqa: ASYNC110 - counts are no events
                    await asyncio.sleep(_LOOK_EVERY)
        await parts.administration.scrapes.wait_again(self._config.drain.last_scrape)
        parts.supervisor.say(control.Drained())


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    """Return what makes the event loop: uvloop, or asyncio's slower one where uvloop is not installed."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop


def main(setup: GatewaySetup) -> None:
    """Be a gateway until the supervisor says that it is over.

    Raises:
        SystemExit: With 2, when a file that the configuration names cannot be used; the log says why.
    """
    faulthandler.enable(setup.prints)  # when compiled code fails or the supervisor gives us up
    lines = os.dup(2)
    os.dup2(setup.prints, 2)  # where what fails below our code says so, which is no line of the log
    log = setup.config.log
    configure(log.level, log.format, process="gateway", descriptor=lines)
    log_strays()

    async def run() -> None:
        await Gateway(setup).run()

    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(run())
    except ConfigError as error:
        for problem in placed(error.problems, setup.places):
            _log.error("configuration cannot be used", problem=problem)
        sys.exit(2)
