"""Where each metric of the catalogue gets its value: counters, live sessions, processes.

The telemetry layer knows names and texts, the shared counters know words, the gateway knows its
sessions. This is the one place where they meet: one reader for each metric.

Rules of this file: a reader only reads, and never waits; figures that take time to measure (CPU) are
measured beforehand by `GatewayMetrics.keep_ticking`.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from bascule.admin.view import DurationSummary
from bascule.gateway.exchanges import STATUSES
from bascule.gateway.sessions.drain import OUTCOMES
from bascule.gateway.sessions.refusal_table import REFUSAL_TABLE
from bascule.gateway.setup import PROCESS_NAME
from bascule.handover.counters import GATEWAYS, ForwarderWord, GatewayWord, close_code_word, frames_word
from bascule.protocol.closing import CLOSE_TABLE
from bascule.telemetry.durations import DURATIONS
from bascule.telemetry.metric import QUANTILES
from bascule.telemetry.readings import SummaryReading
from bascule.telemetry.roundtrips import ROUND_TRIPS
from bascule.vocabulary import (
    CLOSE_CODE_LABELS,
    CLOSE_SENDERS,
    REFUSALS_COUNTED,
    Direction,
    Kind,
    Opcode,
    Side,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from bascule.gateway.census import Census
    from bascule.handover.counters import CounterFile
    from bascule.telemetry.durations import Durations
    from bascule.telemetry.load import LoadMeter
    from bascule.telemetry.processes import Processes
    from bascule.telemetry.readings import Reader, Series

__all__ = ["GatewayMetrics", "closed_sessions"]

_ENDS: Final = tuple(dict.fromkeys((row.ended_by, row.cause) for row in CLOSE_TABLE.values()))
"""Pairs that the close table knows; the other combinations cannot happen and are not exposed."""


class GatewayMetrics:
    """Readers for every metric of the catalogue.

    Args:
        live: What only the running gateway knows.
        counters: The shared counters.
        durations: Fed by the gateway with every session that ends.
        load: CPU rate and memory of the forwarders; has as many slots as `counters`.
        processes: Reads memory and descriptors.
        version: Version of the running code.
        is_start: Whether the forwarders begin with this gateway, and no other was scraped before.
    """

    def __init__(
        self,
        live: Census,
        counters: CounterFile,
        durations: Durations,
        load: LoadMeter,
        processes: Processes,
        *,
        version: str,
        is_start: bool = True,
    ) -> None:
        self._live = live
        self._counters = counters
        self._durations = durations
        self._load = load
        self._processes = processes
        self._version = version
        self._is_first_scrape = is_start

    def tick(self, now: float) -> None:
        """Measure the forwarders once; due every second from the start on."""
        self._load.tick(now, self._live.forwarder_pids(), self._counters.total(ForwarderWord.ALLOCATED_BYTES))

    async def keep_ticking(self, clock: Callable[[], float], period: float = 1.0) -> None:
        """Call `tick` at a fixed rate until cancelled.

        Cancellation: safe; it is the only way out.
        """
        while True:
            self.tick(clock())
            await asyncio.sleep(period)

    def readers(self) -> dict[str, Reader]:
        """Return one reader for each metric of the catalogue."""
        live, durations, load = self._live, self._durations, self._load
        gateway, total = self._gateway, self._total
        return {
            "ws_connection_in_flight_count": lambda _: _one(live.in_flight()),
            "ws_connection_in_flight_max_age_seconds": lambda now: _one(live.oldest_age(now)),
            "ws_pool_max_connections": lambda _: _one(live.cap()),
            "ws_connection_rejections_total": gateway(GatewayWord.REJECTIONS),
            "ws_upstream_connect_failures_total": gateway(GatewayWord.UPSTREAM_CONNECT_FAILURES),
            "ws_connection_duration_seconds": self._duration,
            "ws_connection_duration_seconds_max": lambda now: _one(durations.summary(now).max),
            "ws_connection_duration_seconds_mean": lambda now: _one(durations.summary(now).mean),
            "ws_pool_cpu_cores": self._cpu_cores,
            "ws_pool_alloc_bytes_per_second": lambda now: _one(load.allocated_per_second(now)),
            "bascule_session_duration_seconds": lambda _: DURATIONS.reading(self._counters.durations()),
            "bascule_sessions": self._sessions,
            "bascule_route_sessions": lambda _: _by_name(live.sessions_by_route()),
            "bascule_route_max_sessions": lambda _: _by_name(live.caps_by_route()),
            "bascule_sessions_ended_total": self._ended,
            "bascule_sessions_lost_total": lambda _: _one(self._counters.lost_count()),
            "bascule_close_codes_total": self._close_codes,
            "bascule_frames_total": self._frames,
            "bascule_payload_bytes_total": self._payload,
            "bascule_heartbeats_total": total(ForwarderWord.HEARTBEATS),
            "bascule_browser_round_trip_seconds": lambda _: ROUND_TRIPS.reading(self._counters.round_trips()),
            "bascule_pings_answered_total": self._pings,
            "bascule_stashed_bytes": total(ForwarderWord.STASHED_BYTES),
            "bascule_refusals_total": self._refusals,
            "bascule_refusals_held_total": gateway(GatewayWord.HOLDS),
            "bascule_rejected_clients_total": gateway(GatewayWord.DISTINCT_REJECTED_CLIENTS),
            "ws_draining": lambda _: _one(live.draining),
            "bascule_drain_sessions_total": self._drain,
            "bascule_http_requests_total": gateway(GatewayWord.HTTP_REQUESTS),
            "bascule_http_responses_total": self._http_responses,
            "bascule_http_requests_in_flight": gateway(GatewayWord.HTTP_IN_FLIGHT),
            "bascule_http_requests_refused_total": gateway(GatewayWord.HTTP_REFUSED),
            "bascule_http_upstream_failures_total": gateway(GatewayWord.HTTP_UPSTREAM_FAILURES),
            "bascule_forwarder_cpu_seconds_total": self._forwarder_seconds(ForwarderWord.CPU_NANOSECONDS),
            "bascule_forwarder_wait_seconds_total": self._forwarder_seconds(ForwarderWord.WAIT_NANOSECONDS),
            "bascule_gateway_cpu_seconds_total": self._gateway_seconds(GatewayWord.CPU_NANOSECONDS),
            "bascule_gateway_wait_seconds_total": self._gateway_seconds(GatewayWord.WAIT_NANOSECONDS),
            "bascule_forwarder_resident_bytes": lambda _: self._by_slot(
                load.resident_bytes(slot) for slot in range(len(load))
            ),
            "bascule_forwarder_restarts_total": lambda _: self._by_slot(live.forwarder_restarts()),
            "bascule_gateway_restarts_total": lambda _: _one(live.gateway_restarts()),
            "bascule_start_time_seconds": lambda _: _one(live.started_at),
            "bascule_config_last_reload_successful": lambda _: _one(live.reloaded),
            "bascule_hub_routes": lambda _: _one(live.hub_routes()),
            "bascule_hub_peers_failing": lambda _: _one(live.hub_instances_failing()),
            "bascule_memory_used_bytes": lambda _: _one(self._processes.memory_used(self._pids())),
            "bascule_memory_max_bytes": lambda _: _one(self._processes.memory_limit()),
            "bascule_gc_seconds_total": lambda _: _by_name(
                {"gateway": self._counters.of_gateways(GatewayWord.COLLECTOR_NANOSECONDS) / 1e9}
            ),
            "bascule_open_descriptors": lambda _: _one(
                self._processes.tightest_descriptors(self._pids()).open
            ),
            "bascule_max_descriptors": lambda _: _one(
                self._processes.tightest_descriptors(self._pids()).limit
            ),
            "bascule_build_info": lambda _: [
                ((self._version, hot_path), 1) for hot_path in sorted(live.hot_paths())
            ],
        }

    def _gateway(self, word: GatewayWord) -> Reader:
        return lambda _: _one(self._counters.of_gateways(word))

    def _total(self, word: int) -> Reader:
        return lambda _: _one(self._counters.total(word))

    def _forwarder_seconds(self, word: ForwarderWord) -> Reader:
        """Return the reader of a word in nanoseconds, by slot."""
        counters = self._counters
        return lambda _: self._by_slot(
            counters.forwarder(slot)[word] / 1e9 for slot in range(counters.forwarders)
        )

    def _gateway_seconds(self, word: GatewayWord) -> Reader:
        """Return the reader of a word in nanoseconds, by place: the first, and those that had a gateway."""
        blocks = [self._counters.gateway(place) for place in range(GATEWAYS)]
        return lambda _: [
            ((str(place),), words[word] / 1e9)
            for place, words in enumerate(blocks)
            if place == 0 or words[GatewayWord.CPU_NANOSECONDS]
        ]

    def _duration(self, now: float) -> SummaryReading:
        closed = closed_sessions(self._counters, self._durations, now)
        return SummaryReading(closed.count, closed.total, closed.quantiles.__getitem__)

    def _cpu_cores(self, now: float) -> Series:
        # The contract says 0 on the first scrape after startup. By then a tick has often measured more,
        # but an operator's alert may rely on the letter of the contract.
        first, self._is_first_scrape = self._is_first_scrape, False
        return _one(0.0 if first else self._load.cpu_cores(now))

    def _sessions(self, _now: float) -> Series:
        count = self._live.sessions_by_kind()
        return [((kind,), count.get(kind, 0)) for kind in Kind]

    def _ended(self, _now: float) -> Series:
        return [
            ((kind, ended_by, cause), self._counters.ended(kind, ended_by, cause))
            for kind in Kind
            for ended_by, cause in _ENDS
        ]

    def _close_codes(self, _now: float) -> Series:
        return [
            ((sender, label), self._counters.total(close_code_word(sender, label)))
            for sender in CLOSE_SENDERS
            for label in CLOSE_CODE_LABELS
        ]

    def _frames(self, _now: float) -> Series:
        return [
            ((direction, opcode.name.lower()), self._counters.total(frames_word(direction, opcode)))
            for direction in Direction
            for opcode in Opcode
        ]

    def _payload(self, _now: float) -> Series:
        return [
            ((Direction.INBOUND,), self._counters.total(ForwarderWord.PAYLOAD_INBOUND)),
            ((Direction.OUTBOUND,), self._counters.total(ForwarderWord.PAYLOAD_OUTBOUND)),
        ]

    def _pings(self, _now: float) -> Series:
        return [
            ((Side.BROWSER,), self._counters.total(ForwarderWord.PINGS_ANSWERED_BROWSER)),
            ((Side.UPSTREAM,), self._counters.total(ForwarderWord.PINGS_ANSWERED_UPSTREAM)),
        ]

    def _refusals(self, _now: float) -> Series:
        return [
            ((reason,), self._counters.of_gateways(REFUSAL_TABLE[reason].word)) for reason in REFUSALS_COUNTED
        ]

    def _drain(self, _now: float) -> Series:
        return [((outcome,), self._counters.of_gateways(word)) for outcome, word in OUTCOMES.items()]

    def _http_responses(self, _now: float) -> Series:
        return [((status,), self._counters.of_gateways(word)) for status, word in STATUSES.items()]

    def _by_slot(self, values: Iterable[float]) -> Series:
        return [((str(slot),), value) for slot, value in enumerate(values)]

    def _pids(self) -> list[int]:
        """Return the ids of all our processes, former gateways among them."""
        supervisor, gateway = self._live.other_pids()
        gateways = {gateway, *self._processes.children(supervisor, PROCESS_NAME)}
        return [supervisor, *gateways, *(pid for pid in self._live.forwarder_pids() if pid)]


def closed_sessions(counters: CounterFile, durations: Durations, now: float) -> DurationSummary:
    """Summarise the durations of closed sessions: counted in shared memory, sampled in this process."""
    summary = durations.summary(now)
    closed = DURATIONS.reading(counters.durations())
    return DurationSummary(
        count=closed.cumulative[-1],
        total=closed.sum,
        maximum=summary.max,
        mean=summary.mean,
        quantiles={float(text): summary.quantile(float(text)) for text in QUANTILES},
    )


def _one(value: float) -> Series:
    """Return the series of a metric without labels."""
    return (((), value),)


def _by_name(values: Mapping[str, float]) -> Series:
    """Return the series of a metric with one label."""
    return [((name,), value) for name, value in values.items()]
