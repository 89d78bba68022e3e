"""What tests of the chart share. The chart is not in the installed package: find it in the repository."""

import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from tests.chart.rendering import CASES, HELMS  # noqa: E402 -- found by the line above


@pytest.fixture(params=HELMS)
def version(request: pytest.FixtureRequest) -> str:
    """Return each Helm's major version."""
    return str(request.param)


@pytest.fixture(params=CASES, ids=lambda name: name.replace(" ", "-"))
def values(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Return the values of each case."""
    return CASES[request.param]
