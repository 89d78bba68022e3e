"""Prometheus' own linter reads the exposition."""

from __future__ import annotations

import subprocess

import pytest

from bascule.telemetry.exposition import Exposition
from tests.support.parts import require
from tests.telemetry.readings import readers

INHERENT = (
    'ws_connection_in_flight_count non-histogram and non-summary metrics should not have "_count" suffix'
)
"""The contract's name and type. Exposed as untyped it would pass, and no longer be the contract's gauge."""

LINTED = 3
"""Exit status of promtool for text that it can read and has remarks on."""


@pytest.mark.real
def test_promtool_has_exactly_one_remark_which_the_contract_asks_for() -> None:
    body = Exposition(readers(), clock=lambda: 0.0).answer(None, None, None).body

    found = subprocess.run(
        [require("promtool"), "check", "metrics"], input=body, capture_output=True, check=False
    )

    assert (found.stdout + found.stderr).decode().splitlines() == [INHERENT]
    assert found.returncode == LINTED


@pytest.mark.real
def test_promtool_has_no_remark_on_anything_else() -> None:
    body = Exposition(readers(), clock=lambda: 0.0).answer(None, None, None).body
    rest = b"".join(
        line for line in body.splitlines(keepends=True) if b"ws_connection_in_flight_count" not in line
    )

    found = subprocess.run(
        [require("promtool"), "check", "metrics"], input=rest, capture_output=True, check=False
    )

    assert (found.returncode, found.stdout + found.stderr) == (0, b"")
