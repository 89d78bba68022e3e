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
#: Below DOCS: charts and raw figures of the last run that was published, and the page that shows it.
LATEST = "reference/benchmarks-latest"
PAGE = "explanation/benchmarks.md"


def wheel_binary(name: str) -> Path | None:
    """An executable of the suite's virtual environment."""
    path = VENV / "bin" / name
    return path if path.exists() else None
