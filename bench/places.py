"""Where the suite keeps things: everything below build/bench, except what a run publishes."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PARTS = ROOT / "build" / "bench"
WORK = PARTS / "run"
RESULTS = PARTS / "results"
VENV = PARTS / "venv"
NODE_FOLDER = PARTS / "node"
DOCS = ROOT / "docs"
#: Below DOCS: charts, tables and raw figures of the last run that was published; the page that explains it.
LATEST = "reference/benchmarks-latest"
TABLES = f"{LATEST}/tables.md"
PAGE = "explanation/benchmarks.md"


def wheel_binary(name: str) -> Path | None:
    """An executable of the suite's virtual environment."""
    path = VENV / "bin" / name
    return path if path.exists() else None
