"""HTTP exchanges under way: plain requests, and upgrades whose upstream's refusal is being relayed.

They take no lease, and two peers decide how long each lasts; so they have a bound of their
own, and a drain waits for them.
"""

from __future__ import annotations

import asyncio
from typing import Final

from bascule.handover.counters import GatewayWord

__all__ = ["SOON", "STATUSES", "TOO_MANY", "ExchangeCount"]

STATUSES: Final = {
    "2xx": GatewayWord.HTTP_2XX,
    "3xx": GatewayWord.HTTP_3XX,
    "4xx": GatewayWord.HTTP_4XX,
    "5xx": GatewayWord.HTTP_5XX,
}
"""Where answers are counted, by the class of their status."""

_BY_CLASS: Final = {int(name[0]): int(word) for name, word in STATUSES.items()}
_IN_FLIGHT: Final = int(GatewayWord.HTTP_IN_FLIGHT)
_REFUSED: Final = int(GatewayWord.HTTP_REFUSED)

TOO_MANY: Final = "Too many requests are under way."
"""Detail of the 503 for an exchange that does not fit."""

SOON: Final = ((b"Retry-After", b"1"),)
"""What goes with a 503 that may pass in a moment."""


class ExchangeCount:
    """How many exchanges of this gateway are under way, and how they were answered.

    Args:
        most: Most at once (``limits.maxHttpRequests``).
        words: The gateway's counter block. Its count in flight is set to 0: the exchanges of a gateway that
            had the block before have ended with it.
    """

    def __init__(self, most: int, words: memoryview) -> None:
        self._most = most
        self._words = words
        self._fitting = 0
        self._under_way = 0
        self._idle = asyncio.Event()
        words[_IN_FLIGHT] = 0

    def begin(self) -> bool:
        """Begin one more; tell whether it fits. If not, answer it with `TOO_MANY`. Pass the result to `end`.

        An exchange that does not fit takes no place, although it may take seconds to write its answer and to
        read what its client still sends.
        """
        self._under_way += 1
        if self._fitting >= self._most:
            self.refused()
            return False
        self._fitting += 1
        self._words[_IN_FLIGHT] = self._fitting
        return True

    def refused(self) -> None:
        """Count one that gets a 503 of ours for want of room; `begin` counts those that do not fit."""
        self._words[_REFUSED] += 1

    def answered(self, status: int) -> None:
        """Count an answer; a status of 600 or more counts as 5xx (RFC 9110 §15)."""
        self._words[_BY_CLASS[min(status // 100, 5)]] += 1

    def end(self, fitted: bool) -> None:
        """End an exchange.

        Args:
            fitted: What `begin` returned.
        """
        self._under_way -= 1
        self._fitting -= fitted
        self._words[_IN_FLIGHT] = self._fitting
        if not self._under_way:
            self._idle.set()

    async def wait_idle(self) -> None:
        """Wait until none is under way.

        Cancellation: safe.
        """
        while self._under_way:
            self._idle.clear()
            await self._idle.wait()
