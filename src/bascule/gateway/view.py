"""The gateway as the admin API sees it."""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bascule.admin.capacity import level
from bascule.admin.view import ForwarderRow, InstanceCapacity, SessionRow, Unheard
from bascule.gateway.metrics import closed_sessions
from bascule.handover.counters import ForwarderWord
from bascule.protocol.closing import End
from bascule.vocabulary import Level

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from aiohttp import web

    from bascule.admin.view import DurationSummary, HubView
    from bascule.configuration.config import Config
    from bascule.gateway.census import Census
    from bascule.gateway.sessions.auth import SessionTokens
    from bascule.gateway.sessions.dispatch import Dispatch
    from bascule.gateway.sessions.links import Links
    from bascule.gateway.sessions.registry import Registry
    from bascule.handover.counters import CounterFile
    from bascule.telemetry.durations import Durations
    from bascule.telemetry.exposition import Answer, Exposition
    from bascule.telemetry.load import LoadMeter

__all__ = ["View"]


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """Implements `bascule.admin.view.GatewayView`, which says what each member means."""

    config: Config
    sources: Mapping[str, str]
    counters: CounterFile
    census: Census
    registry: Registry
    links: Links
    dispatch: Dispatch
    durations: Durations
    load: LoadMeter
    tokens: SessionTokens
    exposition: Exposition
    hub: HubView | None
    drain: Callable[[], None]

    @property
    def started_at(self) -> float:
        """When the proxy started, in seconds since the epoch."""
        return self.census.started_at

    @property
    def draining(self) -> bool:
        """Whether new sessions are refused because this instance is going away."""
        return self.census.draining

    def capacity(self) -> InstanceCapacity:
        """Read the cap and the sessions in flight."""
        used, limit = self.census.in_flight(), self.census.cap()
        judged = Level.CRITICAL if self.draining else level(used, limit, self.config.capacity.warning_share)
        name = self.config.capacity.name or socket.gethostname()
        return InstanceCapacity(name, used, limit, judged, self.draining)

    def oldest_age(self, now: float) -> float:
        """Return the seconds since the oldest session was admitted, 0.0 without one."""
        return self.census.oldest_age(now)

    def reservoir_summary(self, now: float) -> DurationSummary:
        """Summarise the durations of closed sessions."""
        return closed_sessions(self.counters, self.durations, now)

    def has_room(self) -> bool:
        """Tell whether a forwarder could take another session."""
        return self.dispatch.has_room()

    def forwarders(self) -> Sequence[ForwarderRow]:
        """Describe the forwarders by slot."""
        now = time.monotonic()
        sessions, restarts = self.census.sessions_by_slot(), self.census.forwarder_restarts()
        rows = []
        for slot in range(self.counters.forwarders):
            link = self.links.by_slot.get(slot)
            words = self.counters.forwarder(slot)
            rows.append(
                ForwarderRow(
                    slot=slot,
                    pid=link.pid if link else 0,
                    sessions=sessions[slot],
                    cpu_cores=self.load.slot_cores(slot, now),
                    cpu_seconds=words[ForwarderWord.CPU_NANOSECONDS] / 1e9,
                    wait_seconds=words[ForwarderWord.WAIT_NANOSECONDS] / 1e9,
                    rss_bytes=self.load.resident_bytes(slot),
                    restarts=restarts[slot],
                    hot_path=link.hot_path if link else "",
                )
            )
        return rows

    async def sessions(self) -> Sequence[SessionRow]:
        """List the live sessions, oldest first."""
        now = time.monotonic()
        found = {live.id: live for live in await self.links.list_sessions()}
        rows = []
        for record in sorted(self.registry, key=lambda record: (record.opened_at, record.id)):
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
                    round_trip=live.round_trip if live and live.round_trip >= 0 else None,
                    bytes_in=live.payload_inbound if live else 0,
                    bytes_out=live.payload_outbound if live else 0,
                    frames_in=live.frames_inbound if live else 0,
                    frames_out=live.frames_outbound if live else 0,
                )
            )
        return rows

    def end_session(self, session_id: str, code: int, reason: str) -> bool:
        """Close one session with a code and reason towards the browser."""
        record = self.registry.get(int(session_id, 16))
        if record is None:
            return False
        if not self.links.close_session(record.slot, record.id, End.ADMIN, code, reason.encode()):
            raise Unheard
        return True

    def render_metrics(self, query: Mapping[str, str], accept: str) -> Answer:
        """Render `/metrics`."""
        return self.exposition.answer(query.get("scope"), query.get("name"), accept or None)

    def authenticated(self, request: web.BaseRequest) -> bool:
        """Tell whether a request on the public listener has a valid session cookie, or needs none."""
        if not self.config.asks_for_sessions:
            return True
        cookies = [value.encode("utf-8", "surrogateescape") for value in request.headers.getall("Cookie", [])]
        return self.tokens.check(cookies) is not None
