"""The gateway as the admin API and the metrics see it."""

from __future__ import annotations

import os
import socket
import time
from typing import TYPE_CHECKING

from bascule.admin.capacity import level
from bascule.admin.view import (
    ForwarderRow,
    InstanceCapacity,
    SessionRow,
    Unheard,
)
from bascule.gateway.metrics import closed_sessions
from bascule.handover.counters import ForwarderWord
from bascule.protocol.closing import End
from bascule.vocabulary import Kind, Level

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from aiohttp import web

    from bascule.admin.view import DurationSummary
    from bascule.gateway.auth import SessionTokens
    from bascule.gateway.dispatch import Dispatch
    from bascule.gateway.hub import HubLedger
    from bascule.gateway.life import Life
    from bascule.gateway.registry import Registry
    from bascule.handover.counters import CounterFile
    from bascule.policy.budget import SessionBudget
    from bascule.policy.config import Config
    from bascule.telemetry.durations import Durations
    from bascule.telemetry.exposition import Answer, Exposition
    from bascule.telemetry.load import LoadMeter


class View:
    """Implements `bascule.admin.view.GatewayView` and `bascule.gateway.metrics.LiveGateway`."""

    def __init__(
        self,
        *,
        config: Config,
        sources: Mapping[str, str],
        counters: CounterFile,
        budget: SessionBudget,
        registry: Registry,
        dispatch: Dispatch,
        durations: Durations,
        load: LoadMeter,
        life: Life,
        tokens: SessionTokens,
        hub: HubLedger | None,
        restarts: int,
        forwarder_restarts: list[int],
        started_at: float,
        reloaded: bool,
        begin_drain: Callable[[], None],
    ) -> None:
        self._config = config
        self._sources = sources
        self._counters = counters
        self._budget = budget
        self._registry = registry
        self._dispatch = dispatch
        self._durations = durations
        self._load = load
        self._tokens = tokens
        self._hub = hub
        self._own_restarts = restarts
        self._begin_drain = begin_drain
        self._started_at = started_at
        self._restarts = forwarder_restarts
        self._name = config.capacity.name or socket.gethostname()
        self._exposition: Exposition | None = None
        self._life = life
        self.reloaded = reloaded
        """Whether the configuration that was asked for last, with the files it names, is in force."""

    def attach(self, exposition: Exposition) -> None:
        """Set the exposition, which needs this view to exist first."""
        self._exposition = exposition

    def set_restarts(self, slot: int, restarts: int) -> None:
        """Note how often a forwarder was started again."""
        self._restarts[slot] = restarts

    # -- GatewayView ----------------------------------------------------------------------

    @property
    def config(self) -> Config:
        """The configuration in force."""
        return self._config

    @property
    def sources(self) -> Mapping[str, str]:
        """Where each value came from."""
        return self._sources

    @property
    def hub(self) -> HubLedger | None:
        """JupyterHub's routes; ``None`` if we take none."""
        return self._hub

    @property
    def counters(self) -> CounterFile:
        """The shared counters of all processes."""
        return self._counters

    @property
    def started_at(self) -> float:
        """When the proxy started, in seconds since the epoch."""
        return self._started_at

    @property
    def draining(self) -> bool:
        """Whether new sessions are refused because the pod is going away."""
        return self._life.draining

    def capacity(self) -> InstanceCapacity:
        """Read the cap and the sessions in flight."""
        used, limit = self._budget.in_use, self._budget.limit
        share = self._config.capacity.warning_share
        judged = Level.CRITICAL if self.draining else level(used, limit, share)
        return InstanceCapacity(self._name, used, limit, judged, self.draining)

    def oldest_age(self, now: float) -> float:
        """Return the seconds since the oldest session was admitted, 0.0 without one."""
        oldest = self._budget.oldest
        return 0.0 if oldest is None else max(0.0, now - oldest)

    def reservoir_summary(self, now: float) -> DurationSummary:
        """Summarise the durations of closed sessions."""
        return closed_sessions(self._counters, self._durations, now)

    def has_room(self) -> bool:
        """Tell whether a forwarder could take another session."""
        return self._dispatch.has_room()

    def forwarders(self) -> Sequence[ForwarderRow]:
        """Describe the forwarders by slot."""
        now = time.monotonic()
        rows = []
        for slot in range(self._counters.forwarders):
            link = self._dispatch.links.get(slot)
            words = self._counters.forwarder(slot)
            rows.append(
                ForwarderRow(
                    slot=slot,
                    pid=link.pid if link else 0,
                    sessions=self._registry.by_slot[slot],
                    cpu_cores=self._load.slot_cores(slot, now),
                    cpu_seconds=words[ForwarderWord.CPU_NANOSECONDS] / 1e9,
                    wait_seconds=words[ForwarderWord.WAIT_NANOSECONDS] / 1e9,
                    rss_bytes=self._load.resident_bytes(slot),
                    restarts=self._restarts[slot],
                    hot_path=link.hot_path if link else "",
                )
            )
        return rows

    async def sessions(self) -> Sequence[SessionRow]:
        """List the live sessions, oldest first."""
        now = time.monotonic()
        found = {live.id: live for live in await self._dispatch.list_sessions()}
        rows = []
        for record in sorted(self._registry, key=lambda record: (record.opened_at, record.id)):
            live = found.get(record.id)
            rows.append(
                SessionRow(
                    id=f"{record.id:x}",
                    route=record.errand.route,
                    kind=record.errand.kind,
                    user=record.errand.user,
                    client=record.errand.client,
                    upstream=record.errand.upstream,
                    forwarder=record.slot,
                    age=max(0.0, now - record.opened_at),
                    idle=live.idle if live else 0.0,
                    bytes_in=live.payload_inbound if live else 0,
                    bytes_out=live.payload_outbound if live else 0,
                    frames_in=live.frames_inbound if live else 0,
                    frames_out=live.frames_outbound if live else 0,
                )
            )
        return rows

    def end_session(self, session_id: str, code: int, reason: str) -> bool:
        """See `GatewayView.end_session`."""
        record = self._registry.get(int(session_id, 16))
        if record is None:
            return False
        if not self._dispatch.close_session(record.slot, record.id, End.ADMIN, code, reason.encode()):
            raise Unheard
        return True

    def drain(self) -> None:
        """Begin a drain; this gateway goes on serving."""
        self._begin_drain()

    def render_metrics(self, query: Mapping[str, str], accept: str) -> Answer:
        """Render `/metrics`."""
        assert self._exposition is not None
        return self._exposition.answer(query.get("scope"), query.get("name"), accept or None)

    def authenticated(self, request: web.BaseRequest) -> bool:
        """Tell whether a request on the public listener has a valid session cookie, or needs none."""
        if not self._config.asks_for_sessions:
            return True
        cookies = [value.encode("utf-8", "surrogateescape") for value in request.headers.getall("Cookie", [])]
        return self._tokens.check(cookies) is not None

    # -- LiveGateway, beside what both ask for ----------------------------------------

    def in_flight(self) -> int:
        """Return the leases taken now."""
        return self._budget.in_use

    def cap(self) -> int:
        """Return maxSessionsPerApp."""
        return self._budget.limit

    def sessions_by_kind(self) -> Mapping[Kind, int]:
        """Count the open sessions."""
        return self._registry.by_kind

    def sessions_by_route(self) -> Mapping[str, int]:
        """Return the leases taken now on each route that is configured."""
        return {route.name: self._budget.in_use_on(route.name) for route in self._config.routes}

    def caps_by_route(self) -> Mapping[str, int]:
        """Return maxSessions of the routes that have it."""
        return self._budget.by_route

    def forwarder_pids(self) -> Sequence[int | None]:
        """Return the process id of each slot."""
        links = self._dispatch.links
        return [links[slot].pid if slot in links else None for slot in range(self._counters.forwarders)]

    def other_pids(self) -> tuple[int, int]:
        """Return the ids of supervisor and gateway."""
        return (os.getppid(), os.getpid())

    def hot_paths(self) -> set[str]:
        """Return which builds of the relay the forwarders run: one, unless an upgrade is under way."""
        return {link.hot_path for link in self._dispatch.links.values()}

    def forwarder_restarts(self) -> Sequence[int]:
        """Return how often each slot was started again."""
        return self._restarts

    def gateway_restarts(self) -> int:
        """Return how often the gateway was started again."""
        return self._own_restarts

    def hub_routes(self) -> int:
        """Return how many routes JupyterHub has added."""
        return 0 if self._hub is None else len(self._hub.routes)

    def hub_peers_failing(self) -> int:
        """Return how many other replicas do not share JupyterHub's routes with this one."""
        return 0 if self._hub is None else self._hub.peers_failing
