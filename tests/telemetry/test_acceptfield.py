"""Which Accept fields allow a plain text answer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule.telemetry.acceptfield import accepts_plain_text
from tests.support.growth import assert_linear

PROMETHEUS_2 = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
PROMETHEUS_3 = (
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6,"
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,text/plain;version=1.0.0;q=0.3,*/*;q=0.1"
)


@pytest.mark.parametrize(
    "accept",
    [
        None, "", "  ", "*/*", "text/*", "text/plain", "TEXT/Plain; Charset=UTF-8", "a/b, text/plain",
        "text/html,*/*;q=0.1", "text/plain;q=0.001", "text/*;q=0, text/plain",
        'a/b;x="q, \\" ;q=0", text/plain',
        "text/plain;version=9;q=0, text/plain;version=0.0.4", "text/plain;q=1.5", PROMETHEUS_2, PROMETHEUS_3,
    ],
)  # fmt: skip
def test_plain_text_is_acceptable(accept: str | None) -> None:
    assert accepts_plain_text(accept)


@pytest.mark.parametrize(
    "accept",
    [
        "application/json", "application/openmetrics-text", "text/html", "text/plain;q=0", "*/*;q=0.000",
        "*/*, text/plain;q=0", "text/*;q=0, */*;q=1", ",", "text", 'a/b;x=", text/plain',
    ],
)  # fmt: skip
def test_plain_text_is_not_acceptable(accept: str) -> None:
    assert not accepts_plain_text(accept)


@given(st.text())
def test_whatever_is_sent_gets_an_answer(accept: str) -> None:
    assert accepts_plain_text(accept) in (True, False)


@pytest.mark.parametrize("piece", ['"', ",\\", '"\\', ";q=", " "])
def test_hostile_lengths_take_linear_time(piece: str) -> None:
    assert not accepts_plain_text("x" + piece * 50_000 + ";q")
    assert_linear(lambda text: accepts_plain_text(f"x{text.decode()};q"), piece.encode(), 50_000)
