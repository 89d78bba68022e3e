"""Logging set up into a file, and what was written to it."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from bascule.telemetry.logs import configure

if TYPE_CHECKING:
    from pathlib import Path

    from bascule.telemetry.linewriter import LineWriter

__all__ = ["Log"]


class Log:
    """A log in a file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)

    def configure(self, level: str = "info", style: str = "json") -> LineWriter:
        return configure(level, style, process="gateway", descriptor=self.descriptor)

    def lines(self) -> list[str]:
        return self.path.read_text().splitlines()

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines()]
