"""The gateway's readers: every metric of the catalogue from the right counter."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import pytest
from prometheus_client.parser import text_string_to_metric_families

from bascule.gateway.census import Census
from bascule.gateway.metrics import GatewayMetrics
from bascule.handover.counters import (
    CounterFile,
    ForwarderWord,
    GatewayWord,
    close_code_word,
    durations_of,
    ended_word,
    frames_word,
)
from bascule.telemetry.catalogue import CATALOGUE
from bascule.telemetry.durations import DURATIONS, Durations
from bascule.telemetry.exposition import Exposition
from bascule.telemetry.labels import LABELS
from bascule.telemetry.load import LoadMeter, ProcessReading
from bascule.telemetry.processes import Processes
from bascule.telemetry.reservoir import Reservoir
from bascule.vocabulary import Cause, Direction, EndedBy, Kind, Opcode, Refusal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SLOTS = 2


class FakeGateway(Census):
    """A gateway with three sessions."""

    def __init__(self) -> None:
        self.started_at = 1764180000.25
        self.reloaded = False

    @property
    def draining(self) -> bool:
        return True

    def in_flight(self) -> int:
        return 3

    def cap(self) -> int:
        return 500

    def oldest_age(self, now: float) -> float:
        return now - 100.0

    def sessions_by_kind(self) -> Mapping[Kind, int]:
        return {Kind.JUPYTER: 2, Kind.APP: 1}

    def sessions_by_route(self) -> Mapping[str, int]:
        return {"lab": 3, "app": 0}

    def caps_by_route(self) -> Mapping[str, int]:
        return {"app": 20}

    def forwarder_pids(self) -> Sequence[int | None]:
        return [os.getpid(), None]

    def hot_paths(self) -> set[str]:
        return {"pure"}

    def forwarder_restarts(self) -> Sequence[int]:
        return [0, 6]

    def gateway_restarts(self) -> int:
        return 1

    def hub_routes(self) -> int:
        return 42

    def hub_instances_failing(self) -> int:
        return 2


class Rig:
    """A whole exposition over fake sessions and real counters."""

    def __init__(self, counters: CounterFile) -> None:
        self.now = 110.0
        self.cpu = 0.0
        self.counters = counters
        self.gateway_words = counters.gateway(0)
        self.forwarder_words = [counters.forwarder(slot) for slot in range(SLOTS)]
        self.durations = Durations(Reservoir(300.0, 600.0, random=lambda: 0.5))
        self.metrics = GatewayMetrics(
            FakeGateway(), counters, self.durations,
            LoadMeter(SLOTS, lambda _: ProcessReading(self.cpu, 0.0, 4096)), Processes(),
            version="1.2.3",
        )  # fmt: skip
        self.exposition = Exposition(self.metrics.readers(), clock=lambda: self.now)

    def scrape(self, name: str | None = None) -> dict[tuple[str, tuple[str, ...]], float]:
        """Return values by sample name and label values, in the order of the labels' names."""
        body = self.exposition.answer(None, name, None).body.decode()
        return {
            (sample.name, tuple(v for k, v in sorted(sample.labels.items()) if k != "mp_scope")): sample.value
            for family in text_string_to_metric_families(body)
            for sample in family.samples
        }


@pytest.fixture
def rig() -> Rig:
    return Rig(CounterFile.create(SLOTS))


def test_there_is_a_reader_for_every_metric(rig: Rig) -> None:
    assert rig.metrics.readers().keys() == {metric.name for metric in CATALOGUE}


def test_the_live_gauges_come_from_the_gateway(rig: Rig) -> None:
    found = rig.scrape()

    assert found["ws_connection_in_flight_count", ()] == 3
    assert found["ws_connection_in_flight_max_age_seconds", ()] == 10.0
    assert found["ws_pool_max_connections", ()] == 500
    assert [found["bascule_sessions", (kind,)] for kind in Kind] == [2, 0, 1]
    assert [found["bascule_route_sessions", (route,)] for route in ("lab", "app")] == [3, 0]
    assert found["bascule_route_max_sessions", ("app",)] == 20
    assert found["ws_draining", ()] == 1
    assert found["bascule_forwarder_restarts_total", ("1",)] == 6
    assert found["bascule_gateway_restarts_total", ()] == 1
    assert found["bascule_start_time_seconds", ()] == 1764180000.25
    assert found["bascule_config_last_reload_successful", ()] == 0
    assert found["bascule_hub_routes", ()] == 42
    assert found["bascule_hub_peers_failing", ()] == 2
    assert found["bascule_build_info", ("pure", "1.2.3")] == 1


def test_every_outcome_of_a_drain_is_shown(rig: Rig) -> None:
    outcomes = [labels[0] for name, labels in rig.scrape() if name == "bascule_drain_sessions_total"]
    assert tuple(outcomes) == LABELS["outcome"].values


def test_every_refusal_of_the_log_is_counted_by_its_word_or_by_the_contracts_metric(rig: Rig) -> None:
    reasons = {labels[0] for name, labels in rig.scrape() if name == "bascule_refusals_total"}
    assert reasons | {Refusal.CAP, Refusal.UNREACHABLE} == set(Refusal)
    assert len(reasons) == len(Refusal) - 2


@pytest.mark.parametrize(
    ("word", "name", "labels"),
    [
        (GatewayWord.REJECTIONS, "ws_connection_rejections_total", ()),
        (GatewayWord.UPSTREAM_CONNECT_FAILURES, "ws_upstream_connect_failures_total", ()),
        (GatewayWord.FORWARDER_LOST, "bascule_sessions_lost_total", ()),
        (GatewayWord.HANDSHAKES_REFUSED, "bascule_refusals_total", ("handshake",)),
        (GatewayWord.NOT_PERMITTED, "bascule_refusals_total", ("not_permitted",)),
        (GatewayWord.UPSTREAM_REFUSED, "bascule_refusals_total", ("upstream",)),
        (GatewayWord.DRAINING, "bascule_refusals_total", ("draining",)),
        (GatewayWord.NO_ROOM, "bascule_refusals_total", ("no_room",)),
        (GatewayWord.USER_CAP, "bascule_refusals_total", ("user_cap",)),
        (GatewayWord.ROUTE_CAP, "bascule_refusals_total", ("route_cap",)),
        (GatewayWord.DRAINED_NATURAL, "bascule_drain_sessions_total", ("natural",)),
        (GatewayWord.DRAINED_CLOSED, "bascule_drain_sessions_total", ("closed",)),
        (GatewayWord.DRAINED_ABORTED, "bascule_drain_sessions_total", ("aborted",)),
        (GatewayWord.CLIENT_GONE, "bascule_refusals_total", ("gone",)),
        (GatewayWord.HOLDS, "bascule_refusals_held_total", ()),
        (GatewayWord.DISTINCT_REJECTED_CLIENTS, "bascule_rejected_clients_total", ()),
        (GatewayWord.HTTP_REQUESTS, "bascule_http_requests_total", ()),
        (GatewayWord.HTTP_UPSTREAM_FAILURES, "bascule_http_upstream_failures_total", ()),
        (GatewayWord.HTTP_2XX, "bascule_http_responses_total", ("2xx",)),
        (GatewayWord.HTTP_3XX, "bascule_http_responses_total", ("3xx",)),
        (GatewayWord.HTTP_4XX, "bascule_http_responses_total", ("4xx",)),
        (GatewayWord.HTTP_5XX, "bascule_http_responses_total", ("5xx",)),
    ],
)
def test_a_word_of_the_gateway_shows_in_one_series(
    rig: Rig, word: GatewayWord, name: str, labels: tuple[str, ...]
) -> None:
    before = rig.scrape()
    rig.gateway_words[word] = 77
    after = rig.scrape()

    assert after[name, labels] == 77
    # No other counter of the contract moves with it.
    counters = {key for key in after if key[0].startswith("ws_") and key[0].endswith("_total")}
    assert {key for key in counters if after[key] != before[key]} <= {(name, labels)}


@pytest.mark.parametrize(
    ("word", "name", "labels"),
    [
        (ForwarderWord.HEARTBEATS, "bascule_heartbeats_total", ()),
        (ForwarderWord.STASHED_BYTES, "bascule_stashed_bytes", ()),
        (ForwarderWord.PINGS_ANSWERED_BROWSER, "bascule_pings_answered_total", ("browser",)),
        (ForwarderWord.PINGS_ANSWERED_UPSTREAM, "bascule_pings_answered_total", ("upstream",)),
        (ForwarderWord.PAYLOAD_INBOUND, "bascule_payload_bytes_total", ("inbound",)),
        (ForwarderWord.PAYLOAD_OUTBOUND, "bascule_payload_bytes_total", ("outbound",)),
        (frames_word(Direction.OUTBOUND, Opcode.PONG), "bascule_frames_total", ("outbound", "pong")),
        (close_code_word("proxy", "1012"), "bascule_close_codes_total", ("1012", "proxy")),
        (
            ended_word(Kind.APP, EndedBy.PROXY, Cause.DRAIN),
            "bascule_sessions_ended_total",
            ("drain", "proxy", "app"),
        ),
    ],
)
def test_a_word_of_the_forwarders_adds_up_over_slots(
    rig: Rig, word: int, name: str, labels: tuple[str, ...]
) -> None:
    rig.forwarder_words[0][word] = 70
    rig.forwarder_words[1][word] = 7

    assert rig.scrape()[name, labels] == 77


def test_the_sum_of_durations_is_exact_even_below_a_second(rig: Rig) -> None:
    DURATIONS.count(durations_of(rig.forwarder_words[0]), 2.000001)
    assert rig.scrape()["ws_connection_duration_seconds_sum", ()] == pytest.approx(2.000001)


def test_sessions_that_a_dead_forwarder_took_along_are_closed_sessions(rig: Rig) -> None:
    DURATIONS.count(durations_of(rig.forwarder_words[0]), 1.0)
    rig.gateway_words[GatewayWord.FORWARDER_LOST] = 2
    for _ in range(2):
        DURATIONS.count(durations_of(rig.gateway_words), 1.0)
    rig.gateway_words[ended_word(Kind.APP, EndedBy.PROXY, Cause.INTERNAL)] = 2

    found = rig.scrape()

    assert found["ws_connection_duration_seconds_count", ()] == 3
    assert found["ws_connection_duration_seconds_sum", ()] == pytest.approx(3.0)
    assert found["bascule_sessions_ended_total", ("internal", "proxy", "app")] == 2


def test_a_session_whose_end_nobody_saw_is_in_neither_the_count_nor_the_sum(rig: Rig) -> None:
    DURATIONS.count(durations_of(rig.forwarder_words[0]), 90.0)
    rig.forwarder_words[1][ForwarderWord.LOST] = 2

    found = rig.scrape()

    assert found["bascule_sessions_lost_total", ()] == 2
    assert found["ws_connection_duration_seconds_count", ()] == 1
    assert found["ws_connection_duration_seconds_sum", ()] == pytest.approx(90.0)
    assert found["bascule_session_duration_seconds_bucket", ("+Inf",)] == 1
    assert found["bascule_session_duration_seconds_sum", ()] == pytest.approx(90.0)


def test_durations_show_as_quantiles_and_buckets(rig: Rig) -> None:
    rig.durations.record(12.0, rig.now)
    DURATIONS.count(durations_of(rig.forwarder_words[0]), 12.0)
    found = rig.scrape()

    assert found["ws_connection_duration_seconds", ("0.99",)] == 12.0
    assert found["ws_connection_duration_seconds_max", ()] == 12.0
    assert found["ws_connection_duration_seconds_mean", ()] == 12.0
    assert found["bascule_session_duration_seconds_bucket", ("15.0",)] == 1


def test_impossible_ends_are_not_shown(rig: Rig) -> None:
    ends = [labels for name, labels in rig.scrape() if name == "bascule_sessions_ended_total"]
    assert ("drain", "client", "app") not in ends
    assert ("closed", "client", "app") in ends


def test_cores_are_zero_on_the_first_scrape_and_right_afterwards(rig: Rig) -> None:
    for second in range(5):
        rig.cpu, rig.now = second / 2, 110.0 + second
        rig.forwarder_words[1][ForwarderWord.ALLOCATED_BYTES] = 1000 * second
        rig.metrics.tick(rig.now)

    first, second_scrape = rig.scrape(), rig.scrape()

    assert first["ws_pool_cpu_cores", ()] == 0.0
    assert second_scrape["ws_pool_cpu_cores", ()] == pytest.approx(0.5)
    assert first["ws_pool_alloc_bytes_per_second", ()] == 1000.0
    assert first["bascule_forwarder_resident_bytes", ("0",)] == 4096
    assert first["bascule_forwarder_resident_bytes", ("1",)] == 0


def test_times_on_a_processor_are_those_that_the_supervisor_noted(rig: Rig) -> None:
    rig.forwarder_words[1][ForwarderWord.CPU_NANOSECONDS] = 2_000_000_000
    rig.forwarder_words[1][ForwarderWord.WAIT_NANOSECONDS] = 500_000_000

    found = rig.scrape()

    assert found["bascule_forwarder_cpu_seconds_total", ("0",)] == 0.0
    assert found["bascule_forwarder_cpu_seconds_total", ("1",)] == 2.0
    assert found["bascule_forwarder_wait_seconds_total", ("1",)] == 0.5


def test_a_gateways_times_show_at_its_place_and_places_without_one_do_not(rig: Rig) -> None:
    def shown(name: str) -> dict[str, float]:
        return {labels[0]: value for (found, labels), value in rig.scrape(name).items() if found == name}

    assert shown("bascule_gateway_cpu_seconds_total") == {"0": 0.0}
    for place, cpu, wait in ((0, 2.0, 0.5), (3, 0.25, 0.0)):
        words = rig.counters.gateway(place)
        words[GatewayWord.CPU_NANOSECONDS] = int(cpu * 1e9)
        words[GatewayWord.WAIT_NANOSECONDS] = int(wait * 1e9)

    assert shown("bascule_gateway_cpu_seconds_total") == {"0": 2.0, "3": 0.25}
    assert shown("bascule_gateway_wait_seconds_total") == {"0": 0.5, "3": 0.0}


def test_the_collectors_time_is_that_of_all_gateways(rig: Rig) -> None:
    for place, nanoseconds in ((0, 250_000_000), (7, 125_000_000)):
        rig.counters.gateway(place)[GatewayWord.COLLECTOR_NANOSECONDS] = nanoseconds
    assert rig.scrape()["bascule_gc_seconds_total", ("gateway",)] == 0.375


def test_a_scrape_of_something_else_is_not_the_first_scrape(rig: Rig) -> None:
    rig.metrics.tick(1.0)
    rig.cpu, rig.now = 1.0, 2.0
    rig.metrics.tick(2.0)

    rig.scrape("ws_draining")

    assert rig.scrape()["ws_pool_cpu_cores", ()] == 0.0


def test_memory_and_descriptors_come_from_the_kernel(rig: Rig) -> None:
    found = rig.scrape()
    assert 1 << 20 < found["bascule_memory_used_bytes", ()] < found["bascule_memory_max_bytes", ()]
    assert 0 < found["bascule_open_descriptors", ()] < found["bascule_max_descriptors", ()]


async def test_the_ticks_go_on_until_cancelled(rig: Rig) -> None:
    enough = asyncio.Event()
    times: list[float] = []

    def clock() -> float:
        times.append(float(len(times)))
        if len(times) == 3:
            enough.set()
        return times[-1]

    ticking = asyncio.create_task(rig.metrics.keep_ticking(clock, period=0.0))
    await asyncio.wait_for(enough.wait(), 5.0)
    ticking.cancel()

    with pytest.raises(asyncio.CancelledError):
        await ticking
    assert len(times) >= 3
