"""Which addresses read `/metrics`, so that a proxy that stops can wait until they have read once more.

The operator knows a counter only as of its last scrape. Without that wait, each rollout would lose what a
drain counts in its last seconds, and the sessions that it ends.

Rules of this file: a reader is an address that has read within `RECENT`; every wait has an end.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Final

import structlog

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["RECENT", "Scrapes"]

_log = structlog.get_logger()

RECENT: Final = 120.0
"""Seconds after its last read until a reader counts as gone: two of Prometheus's default intervals."""

_MOST_READERS: Final = 64
"""Addresses that are remembered. A pair of Prometheus servers and a few people are usual."""


class Scrapes:
    """When each reader last read."""

    def __init__(self) -> None:
        self._last: dict[str, float] = {}
        self._read = asyncio.Event()

    def note(self, reader: str) -> None:
        """Note a read from an address."""
        self._last.pop(reader, None)  # so that the one whose read is oldest comes first
        self._last[reader] = time.monotonic()
        if len(self._last) > _MOST_READERS:
            del self._last[next(iter(self._last))]
        self._read.set()

    async def wait_again(self, within: float) -> None:
        """Wait until each recent reader has read once more.

        Args:
            within: Longest wait, in seconds; 0 for none.

        Cancellation: safe.
        """
        since = time.monotonic()
        missing = {reader for reader, last in self._last.items() if last > since - RECENT}
        if not missing or not within:
            return
        _log.info("waiting for a last scrape", readers=sorted(missing), longest=within)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within):
                while missing:
                    self._read.clear()
                    await self._read.wait()
                    missing = {reader for reader in missing if self._last.get(reader, 0.0) < since}
        if missing:
            _log.info("no last scrape", readers=sorted(missing))

    def dump(self) -> dict[str, float]:
        """Return what another gateway can `restore`."""
        return dict(self._last)

    def restore(self, last: Mapping[str, float]) -> None:
        """Go on with the reads that another gateway noted."""
        self._last = dict(last)
