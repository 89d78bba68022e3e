"""The refusal table: every reason has a row, and what it tells a browser may be told."""

from __future__ import annotations

import pytest

from bascule.gateway.sessions.refusal_table import REFUSAL_TABLE
from bascule.protocol.frames import MAX_REASON_BYTES
from bascule.vocabulary import Refusal
from tests.support.parts import ROOT


def test_every_refusal_has_a_row_and_a_counter_of_its_own() -> None:
    assert set(REFUSAL_TABLE) == set(Refusal)
    assert len({row.word for row in REFUSAL_TABLE.values()}) == len(Refusal)


def test_every_refusal_by_a_close_is_on_the_page_with_its_meaning() -> None:
    page = (ROOT / "docs/reference/close-table.md").read_text()
    for why, row in REFUSAL_TABLE.items():
        assert why.meaning.endswith(".")
        assert (f"| `{row.reason}` | {why.meaning} |" in page) == (row.code is not None)


@pytest.mark.parametrize("why", Refusal, ids=str)
def test_a_reason_fits_beside_its_code_and_tells_jupyterlab_to_come_back(why: Refusal) -> None:
    row = REFUSAL_TABLE[why]
    assert len(row.reason.encode()) <= MAX_REASON_BYTES
    assert (row.code is None) == (not row.reason)
    assert row.code in (None, 1012, 1013)
