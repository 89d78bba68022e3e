"""The reference page is what the catalogue says."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

from bascule.telemetry.catalogue import CATALOGUE

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def script() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "scripts/metrics_reference.py"))


def test_the_page_names_every_metric(script: dict[str, Any]) -> None:
    headings = [line for line in script["page"]().splitlines() if line.startswith("### ")]
    assert headings == [f"### `{metric.name}`" for metric in CATALOGUE]
