"""The close table keeps its constraints, and the page that prints it is up to date."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

from bascule.gateway.sessions.refusal_table import REFUSAL_TABLE
from bascule.protocol.closing import CLOSE_TABLE, End, Row
from bascule.protocol.frames import MAX_REASON_BYTES, CloseCode, is_wire_code
from bascule.vocabulary import Cause, EndedBy

SCRIPT = Path(__file__).resolve().parents[2] / "scripts/close_table.py"

EVERY_ROW = pytest.mark.parametrize("end", list(End), ids=lambda end: end.name.lower())

LARGEST_LIMIT = "2147483647"


def test_every_end_has_a_row_and_every_row_an_end() -> None:
    assert list(CLOSE_TABLE) == list(End)


@EVERY_ROW
def test_1000_and_1001_are_never_originated_towards_the_browser(end: End) -> None:
    # JupyterLab from 4.6 on stops reconnecting on them.
    assert CLOSE_TABLE[end].to_browser not in (1000, 1001)


@EVERY_ROW
def test_only_codes_of_the_wire_are_sent(end: End) -> None:
    row = CLOSE_TABLE[end]
    codes = [code for code in (row.to_browser, row.to_upstream) if code is not None]
    assert all(is_wire_code(code) for code in codes)


@EVERY_ROW
def test_reasons_fit_a_control_frame_and_come_with_a_code(end: End) -> None:
    row = CLOSE_TABLE[end]
    for code, reason in ((row.to_browser, row.browser_reason), (row.to_upstream, row.upstream_reason)):
        assert len(reason.replace("{limit}", LARGEST_LIMIT).encode()) <= MAX_REASON_BYTES
        assert bool(reason) == (code is not None)


@EVERY_ROW
def test_the_meaning_of_each_row_is_a_sentence(end: End) -> None:
    assert CLOSE_TABLE[end].meaning.endswith(".")


def _rows(*causes: Cause) -> list[Row]:
    return [row for row in CLOSE_TABLE.values() if row.cause in causes]


def test_a_peer_whose_connection_is_gone_is_told_nothing() -> None:
    for row in _rows(Cause.ABORTED, Cause.TIMEOUT):
        if row is CLOSE_TABLE[End.CLIENT_SILENT]:
            continue  # its connection is there, and it may hear what it did not answer
        gone = row.to_browser if row.ended_by is EndedBy.CLIENT else row.to_upstream
        assert gone is None


def test_a_close_of_a_peer_passes_unchanged_so_we_add_none() -> None:
    assert {(row.to_browser, row.to_upstream) for row in _rows(Cause.CLOSED)} == {(None, None)}


def test_the_offender_is_told_1002() -> None:
    for row in _rows(Cause.PROTOCOL_ERROR):
        offender = row.to_browser if row.ended_by is EndedBy.CLIENT else row.to_upstream
        assert offender is CloseCode.PROTOCOL_ERROR


def test_1009_goes_to_both_sides_and_names_the_key() -> None:
    for row in _rows(Cause.TOO_BIG):
        assert row.to_browser is row.to_upstream is CloseCode.MESSAGE_TOO_BIG
        assert "incomingBufferBytes ({limit})" in row.browser_reason
        assert "incomingBufferBytes ({limit})" in row.upstream_reason


def test_idle_and_drain_tell_the_browser_1012() -> None:
    assert {row.to_browser for row in _rows(Cause.IDLE, Cause.DRAIN)} == {CloseCode.SERVICE_RESTART}


def test_every_cause_has_a_row() -> None:
    assert {row.cause for row in CLOSE_TABLE.values()} == set(Cause)


# -- the page ---------------------------------------------------------------------------------------


@pytest.fixture
def script() -> dict[str, Any]:
    return runpy.run_path(str(SCRIPT))


def test_the_page_has_one_line_for_every_row(script: dict[str, Any]) -> None:
    lines = [line for line in script["page"]().splitlines() if line.startswith("| `")]
    assert [line.split("`")[1] for line in lines] == [end.name.lower() for end in End]


def test_the_page_has_every_refusal_that_a_browser_is_told_by_close(script: dict[str, Any]) -> None:
    told = {f"| {row.code:d} | `{row.reason}` |" for row in REFUSAL_TABLE.values() if row.code is not None}
    lines = [line for line in script["page"]().splitlines() if line.startswith("| 10")]
    assert {"|".join(line.split("|")[:3]) + "|" for line in lines} == told
