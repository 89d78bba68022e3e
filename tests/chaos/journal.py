"""The log of a proxy, read as it grows."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Journal"]


class Journal:
    """The lines so far.

    Args:
        file: The log.
    """

    def __init__(self, file: Path) -> None:
        self._file = file.open("rb")
        self._rest = b""
        self._lines: list[dict[str, Any]] = []
        self.close = self._file.close

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Every line, decoded; one that is no JSON has only the key ``text``."""
        *whole, self._rest = (self._rest + self._file.read()).split(b"\n")
        for line in whole:
            try:
                self._lines.append(json.loads(line))
            except ValueError:
                self._lines.append({"text": line.decode(errors="replace")})
        return self._lines

    @property
    def deaths(self) -> dict[int, str]:
        """Processes whose death was told, with their names."""
        return {line["pid"]: line["child"] for line in self.lines if line.get("event") == "a process died"}

    @property
    def reloads(self) -> list[bool]:
        """Whether each reload so far succeeded."""
        outcomes = {"configuration reloaded": True, "configuration not reloaded": False}
        return [outcomes[line["event"]] for line in self.lines if line.get("event") in outcomes]
