"""What a scraper gets: text format 0.0.4 as MicroProfile Metrics 5.1 lays it out."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from bascule.telemetry.catalogue import CATALOGUE
from bascule.telemetry.exposition import _SCOPE_FIRST, Exposition
from bascule.telemetry.metric import MetricKind
from bascule.telemetry.readings import Reading, SummaryReading
from tests.telemetry.readings import readers

TYPE = "text/plain; version=0.0.4; charset=utf-8"


def exposition() -> Exposition:
    return Exposition(readers(), clock=lambda: 5.0)


def lines(scope: str | None = None, name: str | None = None) -> list[str]:
    return exposition().answer(scope, name, None).body.decode().splitlines()


def series() -> list[str]:
    return [line for line in lines() if not line.startswith("#")]


def test_everything_is_answered_in_text_format_0_0_4() -> None:
    answer = exposition().answer(None, None, None)

    status, content_type, body = answer
    assert (status, content_type) == (200, TYPE)
    families = {family.name: family.type for family in text_string_to_metric_families(body.decode())}
    assert families == {
        metric.name.removesuffix("_total") if metric.kind is MetricKind.COUNTER else metric.name: metric.kind
        for metric in CATALOGUE
    }


def test_the_scope_is_the_first_label_of_every_series() -> None:
    assert all(re.match(r'\w+\{mp_scope="application"[,}]', line) for line in series())


@pytest.mark.parametrize(
    "names", [["cause", _SCOPE_FIRST], [_SCOPE_FIRST, "cause"], ["a", "b", _SCOPE_FIRST, "z"]]
)
def test_the_scope_sorts_first_from_anywhere(names: list[str]) -> None:
    assert sorted((name, "value") for name in names)[0][0] == "mp_scope"


def test_labels_keep_their_values() -> None:
    assert 'bascule_sessions{mp_scope="application",kind="jupyter"} 3.0' in series()
    assert (
        'bascule_sessions_ended_total{mp_scope="application",cause="drain",ended_by="proxy",kind="app"} 3.0'
        in series()
    )


def test_counters_say_total_once_and_nothing_says_when_it_was_created() -> None:
    text = "\n".join(lines())
    assert "_total_total" not in text
    assert "_created" not in text
    assert "# TYPE ws_connection_rejections_total counter" in text


def test_the_in_flight_gauge_keeps_its_name_and_type() -> None:
    assert "# TYPE ws_connection_in_flight_count gauge" in lines()
    assert 'ws_connection_in_flight_count{mp_scope="application"} 3.0' in lines()


def test_the_summary_has_six_quantiles_a_count_and_a_sum_and_gauges_beside_it() -> None:
    reading = SummaryReading(17, 1034.2, lambda p: 1000 * p)
    shown = Exposition(
        readers(
            ws_connection_duration_seconds=lambda _: reading,
            ws_connection_duration_seconds_max=lambda _: [((), 812.4)],
            ws_connection_duration_seconds_mean=lambda _: [((), 60.5)],
        ),
        clock=lambda: 0.0,
    ).answer("application", "ws_connection_duration_seconds", "*/*")

    values = [line for line in shown.body.decode().splitlines() if not line.startswith("# HELP")]
    assert values == [
        "# TYPE ws_connection_duration_seconds summary",
        'ws_connection_duration_seconds{mp_scope="application",quantile="0.5"} 500.0',
        'ws_connection_duration_seconds{mp_scope="application",quantile="0.75"} 750.0',
        'ws_connection_duration_seconds{mp_scope="application",quantile="0.95"} 950.0',
        'ws_connection_duration_seconds{mp_scope="application",quantile="0.98"} 980.0',
        'ws_connection_duration_seconds{mp_scope="application",quantile="0.99"} 990.0',
        'ws_connection_duration_seconds{mp_scope="application",quantile="0.999"} 999.0',
        'ws_connection_duration_seconds_count{mp_scope="application"} 17.0',
        'ws_connection_duration_seconds_sum{mp_scope="application"} 1034.2',
        "# TYPE ws_connection_duration_seconds_max gauge",
        'ws_connection_duration_seconds_max{mp_scope="application"} 812.4',
        "# TYPE ws_connection_duration_seconds_mean gauge",
        'ws_connection_duration_seconds_mean{mp_scope="application"} 60.5',
    ]


def test_an_empty_reservoir_shows_nan() -> None:
    assert 'ws_connection_duration_seconds{mp_scope="application",quantile="0.95"} NaN' in lines()


def test_the_histogram_has_cumulative_buckets() -> None:
    shown = [line for line in series() if line.startswith("bascule_session_duration_seconds")]
    assert shown == [
        'bascule_session_duration_seconds_bucket{mp_scope="application",le="1.0"} 1.0',
        'bascule_session_duration_seconds_bucket{mp_scope="application",le="60.0"} 1.0',
        'bascule_session_duration_seconds_bucket{mp_scope="application",le="+Inf"} 2.0',
        'bascule_session_duration_seconds_count{mp_scope="application"} 2.0',
        'bascule_session_duration_seconds_sum{mp_scope="application"} 99.5',
    ]


def test_the_scope_may_be_named_and_changes_nothing() -> None:
    assert lines("application") == lines()


@pytest.mark.parametrize("scope", ["base", "vendor", "", "application "])
def test_another_scope_is_not_found(scope: str) -> None:
    answer = exposition().answer(scope, None, None)
    assert (answer.status, answer.body) == (404, b"Not available scope to consume\n")
    assert answer.content_type == "text/plain; charset=utf-8"


def test_a_name_alone_narrows_the_answer() -> None:
    assert [line.split("{")[0] for line in lines(name="ws_pool_cpu_cores") if line[0] != "#"] == [
        "ws_pool_cpu_cores"
    ]


def test_a_narrow_answer_reads_nothing_else() -> None:
    def unread(_: float) -> list[tuple[tuple[str, ...], float]]:
        raise AssertionError

    narrow = Exposition(readers(ws_pool_cpu_cores=unread), clock=lambda: 0.0)
    assert narrow.answer(None, "ws_draining", None).status == 200


def test_an_unknown_metric_is_not_found() -> None:
    answer = exposition().answer(None, "ws_unknown", None)
    assert (answer.status, answer.body) == (404, b"[ws_unknown] metric not found\n")


@pytest.mark.parametrize("name", ["\x1b[2J\r\nX-Evil", "\u2028", "\ufffd\0"])
def test_what_a_client_sent_comes_back_escaped(name: str) -> None:
    answer = exposition().answer(None, name, None)
    assert answer.status == 404
    assert answer.body.decode().rstrip("\n").isprintable()


def test_an_answer_other_than_plain_text_cannot_be_had() -> None:
    answer = exposition().answer(None, None, "application/openmetrics-text")
    assert (answer.status, answer.body) == (406, b"[application/openmetrics-text] not acceptable\n")


def test_long_nonsense_is_answered_briefly() -> None:
    assert len(exposition().answer(None, "x" * 100_000, None).body) < 300
    assert len(exposition().answer(None, None, "x" * 100_000).body) < 300


@given(st.none() | st.text(), st.none() | st.text(), st.none() | st.text())
def test_any_question_gets_one_of_three_answers(
    scope: str | None, name: str | None, accept: str | None
) -> None:
    assert exposition().answer(scope, name, accept).status in (200, 404, 406)


def test_all_readers_of_a_scrape_get_the_same_time() -> None:
    seen: list[float] = []
    clock = iter([1.0, 2.0])

    def reading(now: float) -> list[tuple[tuple[str, ...], float]]:
        seen.append(now)
        return [((), 0)]

    watched = Exposition(readers(ws_draining=reading, ws_pool_cpu_cores=reading), clock=lambda: next(clock))
    watched.answer(None, None, None)

    assert seen == [1.0, 1.0]


def test_a_metric_without_a_reader_is_an_error_at_the_start() -> None:
    incomplete = readers()
    del incomplete["ws_draining"]
    with pytest.raises(ValueError, match=r"without a reader: \['ws_draining'\]"):
        Exposition(incomplete, clock=lambda: 0.0)


def test_a_reader_without_a_metric_is_an_error_at_the_start() -> None:
    with pytest.raises(ValueError, match=r"without a metric: \['ws_unknown'\]"):
        Exposition(readers(ws_unknown=lambda _: []), clock=lambda: 0.0)


@pytest.mark.parametrize(
    "name", ["ws_connection_duration_seconds", "bascule_session_duration_seconds", "ws_draining"]
)
def test_a_reading_of_the_wrong_kind_is_an_error(name: str) -> None:
    wrong: Reading = SummaryReading(0, 0.0, lambda p: math.nan) if name == "ws_draining" else []
    with pytest.raises(TypeError, match=name):
        Exposition(readers(**{name: lambda _: wrong}), clock=lambda: 0.0).answer(None, None, None)
