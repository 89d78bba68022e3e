"""A clock that shows what a test sets."""

from __future__ import annotations

__all__ = ["Clock"]


class Clock:
    """Seconds, for parts that are given a function that tells them."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now
