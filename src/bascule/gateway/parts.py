"""What a gateway is made of, and who of its parts knows whom.

Rules of this file: it builds and decides nothing. `bascule.gateway.main` starts the parts, and stops them.
"""

from __future__ import annotations

import random
import secrets
import socket
import time
from functools import partial
from typing import TYPE_CHECKING

import structlog

from bascule._version import __version__
from bascule.admin.api import Administration
from bascule.admin.hubstanding import HubStanding
from bascule.admin.view import HubView
from bascule.configuration.certificate import upstream_context
from bascule.gateway.census import Census
from bascule.gateway.control_channel import ControlChannel
from bascule.gateway.exchanges import ExchangeCount
from bascule.gateway.figures import Figures
from bascule.gateway.hubactivity import HubActivity
from bascule.gateway.hubledger import HubRouteLedger
from bascule.gateway.life import Life
from bascule.gateway.listening.http import HttpServer
from bascule.gateway.metrics import GatewayMetrics
from bascule.gateway.plain.errors import PlainErrors
from bascule.gateway.plain.hubpages import HubPages
from bascule.gateway.plain.own_paths import OwnPaths
from bascule.gateway.plain.pools import UpstreamPools
from bascule.gateway.plain.proxy import PlainProxy
from bascule.gateway.plain.upstreams import PlainUpstreams
from bascule.gateway.sessions.admission import Admission
from bascule.gateway.sessions.attempt import Attempts
from bascule.gateway.sessions.auth import SessionTokens
from bascule.gateway.sessions.dispatch import Dispatch
from bascule.gateway.sessions.drain_order import DrainOrder
from bascule.gateway.sessions.links import Links
from bascule.gateway.sessions.nosession import NoSessions
from bascule.gateway.sessions.outcomes import Outcomes
from bascule.gateway.sessions.refusal import Refuser
from bascule.gateway.sessions.registry import Registry
from bascule.gateway.upstreams.dialler import Dialler
from bascule.gateway.upstreams.fence import Fence
from bascule.gateway.upstreams.handshake import Dial
from bascule.gateway.view import View
from bascule.handover.counters import CounterFile, GatewayWord
from bascule.handover.journal import Journal
from bascule.policy.budget import SessionBudget
from bascule.policy.hubroutes import HubRoutes
from bascule.policy.requestrules import RequestRules
from bascule.policy.routes import RouteTable
from bascule.telemetry.accesslog import AccessLog
from bascule.telemetry.durations import Durations
from bascule.telemetry.exposition import Exposition
from bascule.telemetry.garbage import CollectorClock
from bascule.telemetry.load import LoadMeter
from bascule.telemetry.processes import Processes
from bascule.telemetry.reservoir import Reservoir
from bascule.telemetry.spare import Spare

if TYPE_CHECKING:
    from bascule.gateway.setup import GatewaySetup
    from bascule.policy.routes import Routes

__all__ = ["Parts"]


class Parts:
    """The parts of one gateway that others than their neighbours need.

    Args:
        setup: What the supervisor told this process.

    Raises:
        ConfigError: A file that it names cannot be used.
    """

    def __init__(self, setup: GatewaySetup) -> None:
        config = setup.config
        self.supervisor = ControlChannel(socket.socket(fileno=setup.control))
        self.life = life = Life(setup.draining)
        counters = CounterFile(setup.counters, setup.forwarders)
        self.words = words = counters.gateway(setup.place)
        access_log = AccessLog(structlog.get_logger().bind(), debugs=config.log.level == "debug")

        # Which requests may pass, and where to.
        configured = RouteTable(config.routes)
        routes: Routes = configured
        self.hub_ledger: HubRouteLedger | None = None
        self.hub_activity: HubActivity | None = None
        self.hub: HubView | None = None
        if config.hub.enabled:
            routes = hub_routes = HubRoutes(configured, config.hub)
            self.hub_activity = HubActivity(hub_routes)
            self.hub_ledger = HubRouteLedger(hub_routes, self.hub_activity, Journal(setup.hub))
            self.hub = HubView(self.hub_ledger, self.hub_activity, HubStanding())
        tokens = SessionTokens(config.auth.session, config.asks_for_sessions)
        rules = RequestRules(config, routes, tokens.require, f"bascule-{secrets.token_hex(4)}".encode())
        # Built now and not at its first use: when no descriptor is left, OpenSSL reads no CA, reports
        # nothing, and would trust no upstream from then on.
        upstream_tls = upstream_context(config.upstream_tls)
        fence = Fence(each for each in (setup.public, setup.admin, setup.redirect) if each >= 0)

        # Sessions: how many there may be, which there are, and who carries them.
        budget = SessionBudget(
            config.websocket_proxy.max_sessions_per_app,
            config.limits.max_sessions_per_user,
            {route.name: most for route in config.routes if (most := route.max_sessions) is not None},
            lambda: self.links.unlisted(),
        )
        self.registry = Registry()
        durations = Durations(
            Reservoir(
                config.metrics.duration_half_life, config.metrics.recent_window, random=random.Random().random
            )
        )
        outcomes = Outcomes(
            registry=self.registry, budget=budget, durations=durations, access_log=access_log,
            counters=counters, words=words, activity=self.hub_activity,
        )  # fmt: skip
        self.links = Links(
            counts=self.registry.by_slot, books=outcomes, ask=self.supervisor.ask_for_channel,
            words=counters.forwarder, life=life, slots=counters.forwarders,
        )  # fmt: skip
        dispatch = Dispatch(self.links, self.registry.by_slot)
        self.exchanges = ExchangeCount(config.limits.max_http_requests, words)
        self.refuser = Refuser(config.limits, life)
        no_sessions = NoSessions(config.limits, self.refuser, access_log, words, self.exchanges)
        self.attempts = Attempts(
            config=config, rules=rules, budget=budget, registry=self.registry,
            dispatch=dispatch, dial=partial(Dial, Dialler(config, upstream_tls, fence)),
            no_sessions=no_sessions, hold_off=self.refuser.hold_off, words=words, generation=setup.generation,
        )  # fmt: skip
        self.admission = Admission(
            config=config, rules=rules, budget=budget, attempts=self.attempts, no_sessions=no_sessions,
            life=life,
        )  # fmt: skip
        self.drain = DrainOrder(
            config, life=life, budget=budget, registry=self.registry, links=self.links,
            refuser=self.refuser, words=words, supervisor=self.supervisor,
        )  # fmt: skip

        # What operators see.
        processes = Processes(spare=Spare())
        load = LoadMeter(setup.forwarders, processes.read, window=config.metrics.cpu_window)
        self.collector = CollectorClock(time.perf_counter_ns, words, GatewayWord.COLLECTOR_NANOSECONDS)
        self.census = Census(
            setup, budget=budget, registry=self.registry, links=self.links, life=life, hub=self.hub,
        )  # fmt: skip
        self.metrics = GatewayMetrics(
            self.census, counters, durations, load, processes,
            version=__version__, is_start=setup.generation == 0,
        )  # fmt: skip
        self.view = View(
            config=config, sources=setup.sources, counters=counters, census=self.census,
            registry=self.registry, links=self.links, dispatch=dispatch, durations=durations,
            load=load, tokens=tokens, exposition=Exposition(self.metrics.readers(), time.monotonic),
            hub=self.hub, drain=self.drain.begin,
        )  # fmt: skip
        self.administration = Administration(self.view)
        self.figures = Figures(
            Journal(setup.figures),
            {
                "durations": durations,
                "load": load,
                "hour": self.administration.live,
                "scrapes": self.administration.scrapes,
            },
        )

        # Plain requests; the server of these hands every upgrade to the admission.
        self.pools = UpstreamPools(config.limits.connect_timeout, upstream_tls, fence)
        error_target = config.hub.error_target if config.hub.enabled else None
        hub_pages = None if error_target is None else HubPages(error_target, rules.via)
        errors = PlainErrors(words, access_log, self.exchanges, self.pools, hub_pages)
        patience = config.limits.http_upstream_timeout
        upstreams = PlainUpstreams(self.pools, errors, patience, self.hub_activity, access_log)
        plain = PlainProxy(
            config=config, rules=rules, words=words, access_log=access_log, exchanges=self.exchanges,
            life=life, upstreams=upstreams, errors=errors,
        )  # fmt: skip
        own_paths = OwnPaths(self.administration.public, routes, plain, life, is_hubs=config.hub.enabled)
        self.http = HttpServer(own_paths.handle, config, self.admission.upgrade, life)
