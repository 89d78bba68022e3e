"""Ending all sessions without a storm: quietest first, at a rate, with jitter.

Clients come back the moment they are closed, so what arrives elsewhere is as steep as
what is closed here. ``drain.naturalEnd`` gives sessions time to end by themselves;
then they are told 1012 at ``drain.rate`` per second (over ``drain.window`` when that is
set), and what is left near ``drain.timeout`` is told at once.
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Final

import structlog

from bascule.policy.drainplan import plan

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from bascule.policy.config import Config

_log = structlog.get_logger()

_LAST_SHARE: Final = 0.9
"""Share of drain.timeout after which whoever is still there is told at once: the rest is for
closing handshakes."""

Row = tuple[int, float]
"""Session id, and seconds since its last data frame."""


class Drain:
    """One drain, from its beginning to the last session.

    Args:
        config: The drain settings.
        rows: Lists the live sessions.
        close: Tells one session, with the seconds its closing handshake may take.
        in_flight: Counts the live sessions.
    """

    def __init__(
        self,
        config: Config,
        rows: Callable[[], Awaitable[Sequence[Row]]],
        close: Callable[[int, float], None],
        in_flight: Callable[[], int],
    ) -> None:
        self._config = config
        self._rows = rows
        self._close = close
        self._in_flight = in_flight
        self.outcomes = {"natural": 0, "closed": 0, "aborted": 0}

    async def run(self) -> None:
        """End all sessions; returns when none is left or the time is up.

        Cancellation: safe; sessions that were told go on closing.
        """
        settings = self._config.drain
        loop = asyncio.get_running_loop()
        started = loop.time()
        deadline = started + settings.timeout
        at_start = self._in_flight()
        _log.info("drain begins", sessions=at_start, timeout=settings.timeout)
        if settings.timeout == 0:
            for identifier, _ in await self._rows():
                self._close(identifier, 0.0)
        else:
            await self._wait_empty(min(deadline, started + settings.natural_end))
            self.outcomes["natural"] += at_start - self._in_flight()
            await self._close_all(started, deadline)
        await self._wait_empty(deadline + 0.5)
        left = self._in_flight()
        self.outcomes["aborted"] += left
        self.outcomes["closed"] += max(0, at_start - self.outcomes["natural"] - left)
        _log.info("drain ends", seconds=round(loop.time() - started, 3), left=left, **self.outcomes)

    async def _close_all(self, started: float, deadline: float) -> None:
        settings = self._config.drain
        loop = asyncio.get_running_loop()
        last = started + (deadline - started) * _LAST_SHARE
        rows = await self._rows()
        schedule = plan(
            rows, rate=settings.rate, window=settings.window, available=max(0.0, last - loop.time()),
            randomness=random.Random(),
        )  # fmt: skip
        begin = loop.time()
        for identifier, delay in schedule:
            pause = begin + delay - loop.time()
            if pause > 0:
                await asyncio.sleep(pause)
            self._close(identifier, max(0.1, deadline - loop.time()))

    async def _wait_empty(self, until: float) -> None:
        """Wait until no session is left or the time has come."""
        loop = asyncio.get_running_loop()
        while self._in_flight() and loop.time() < until:  # noqa: ASYNC110 - it ends with a count, not an event
            await asyncio.sleep(min(0.05, max(0.001, until - loop.time())))
