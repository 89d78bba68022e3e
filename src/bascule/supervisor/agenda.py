"""What the supervisor is to do later.

Rules of this file: pure, but for the clock; the supervisor waits, and calls what is due.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import TypeAlias

__all__ = ["Action", "Agenda", "DoLater"]

Action: TypeAlias = Callable[[], None]

DoLater: TypeAlias = Callable[[float, Action], None]
"""`Agenda.do_later`: calls something after that many seconds."""


class Agenda:
    """Actions, and when each is due. None is cancelled: each looks whether it still applies."""

    def __init__(self) -> None:
        self._due: list[tuple[float, Action]] = []

    @property
    def next_at(self) -> float:
        """When something is due next, monotonic; infinity for never."""
        return min((at for at, _ in self._due), default=math.inf)

    def do_later(self, seconds: float, action: Action) -> None:
        """Call something after that many seconds, unless the children have been told to leave by then."""
        self._due.append((time.monotonic() + seconds, action))

    def take(self, now: float) -> list[Action]:
        """Return and forget what is due, in the order in which it was put in.

        Args:
            now: Monotonic time in seconds.
        """
        due = [action for at, action in self._due if at <= now]
        self._due = [(at, action) for at, action in self._due if at > now]
        return due
