"""HTTP exchanges under way: plain requests, and upgrades whose upstream's refusal is being relayed.

They draw nothing from the cap, and how long each lasts is up to two peers; so they are
bounded in number by themselves, and a drain waits for them.
"""

from __future__ import annotations

import asyncio
from typing import Final

from bascule.handover.counters import GatewayWord

__all__ = ["STATUSES", "TOO_MANY", "Exchanges"]

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
"""What one that does not fit is answered, with 503."""


class Exchanges:
    """All of them.

    Args:
        most: Most at once (``limits.maxHttpRequests``).
        words: The gateway's counter block. What the gateway before us had under way has ended with it.
    """

    def __init__(self, most: int, words: memoryview) -> None:
        self._most = most
        self._words = words
        self._fitting = 0
        self._under_way = 0
        self._idle = asyncio.Event()
        words[_IN_FLIGHT] = 0

    def begin(self) -> bool:
        """Begin one more, and tell whether it fits, else it is `TOO_MANY`; `end` is to be told the same.

        One that does not fit takes no place: its answer, and what its client still sends, may take seconds.
        """
        self._under_way += 1
        if self._fitting >= self._most:
            self._words[_REFUSED] += 1
            return False
        self._fitting += 1
        self._words[_IN_FLIGHT] = self._fitting
        return True

    def answered(self, status: int) -> None:
        """Count an answer; a status that is in no class is one of the last (RFC 9110 §15)."""
        self._words[_BY_CLASS[min(status // 100, 5)]] += 1

    def end(self, fitted: bool) -> None:
        """End one."""
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
