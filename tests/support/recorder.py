"""Stands where a structlog logger does, and keeps what is logged."""

from __future__ import annotations

__all__ = ["Recorder"]


class Recorder:
    """Keeps what is logged.

    Attributes:
        seen: Event and fields of each line at level info.
        debugged: The same at level debug.
    """

    def __init__(self) -> None:
        self.seen: list[tuple[str, dict[str, object]]] = []
        self.debugged: list[tuple[str, dict[str, object]]] = []

    def info(self, event: str, **fields: object) -> None:
        self.seen.append((event, fields))

    def debug(self, event: str, **fields: object) -> None:
        self.debugged.append((event, fields))

    @property
    def lines(self) -> list[dict[str, object]]:
        """Each line as a collector gets it."""
        return [{"event": event, **fields} for event, fields in self.seen]

    def said(self, *names: str) -> list[tuple[object, ...]]:
        """These fields of each line."""
        return [tuple(line.get(name) for name in names) for line in self.lines]
