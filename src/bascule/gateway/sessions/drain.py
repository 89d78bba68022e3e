"""Ending all sessions without a storm: quietest first, at a rate, with jitter.

Browsers come back the moment their sessions are closed, so other instances get them at the
rate at which we close. ``drain.naturalEnd`` gives sessions time to end by themselves; then
we close them with 1012 at ``drain.rate`` per second, or over ``drain.window``; faster if
``drain.timeout`` leaves no time for that. Sessions that are left at the end are cut.

We make the plan anew every second or so. Otherwise a long drain would go by which sessions were
quiet at its beginning, and would never tell a session whose handshake was under way then.
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Final

import structlog

from bascule.handover.counters import GatewayWord
from bascule.policy.drainplan import cut_after, plan, slot_width

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from bascule.configuration.config import Config

__all__ = ["OUTCOMES", "Draining", "Silence"]

_log = structlog.get_logger()

_LAST_SHARE: Final = 0.9
"""Share of the time in which all sessions are told; the rest is for closing handshakes."""

_ROUND: Final = 1.0
"""Seconds after which we list the sessions and make the plan anew."""

_TICK: Final = 0.05
"""Seconds between two checks how many sessions are left."""

_CUT_WITHIN: Final = 0.5
"""Seconds for the forwarders to report that they have cut the remaining sessions."""

OUTCOMES: Final = {
    "natural": GatewayWord.DRAINED_NATURAL,
    "closed": GatewayWord.DRAINED_CLOSED,
    "aborted": GatewayWord.DRAINED_ABORTED,
}
"""How a session may end in a drain (`LABELS["outcome"]`), and where it is counted."""

Silence = tuple[int, float]
"""Session id, and seconds since its last data frame."""


class Draining:
    """One drain, to the last session.

    Args:
        config: The drain settings.
        rows: Lists the live sessions.
        close: Orders one session closed, with the seconds that its closing handshake may take; returns
            false if the order could not be sent, since a full channel has room again a moment later.
        in_flight: Counts the leases: live sessions, and handshakes under way.
        words: The gateway's counter block; outcomes are counted there.
        begun: Monotonic time in seconds of the order to drain, perhaps under a former gateway;
            ``drain.timeout`` counts from there.

    Attributes:
        outcomes: How many sessions have ended in each way so far, under this gateway; only ever grows.
    """

    def __init__(
        self,
        config: Config,
        rows: Callable[[], Awaitable[Sequence[Silence]]],
        close: Callable[[int, float], bool],
        in_flight: Callable[[], int],
        words: memoryview,
        begun: float,
    ) -> None:
        self._settings = config.drain
        self._words = words
        self._begun = begun
        self._rows = rows
        self._close = close
        self._in_flight = in_flight
        # Counted here: a session that ends between the order and the first step of `run` ends naturally.
        self._at_start = in_flight()
        self._seen: set[int] = set()
        self._told: set[int] = set()
        self.outcomes = dict.fromkeys(OUTCOMES, 0)

    async def run(self) -> None:
        """End all sessions; return when none is left or the time is up.

        Cancellation: safe; sessions that were told go on closing.
        """
        settings = self._settings
        loop = asyncio.get_running_loop()
        started = loop.time()  # of the same clock as `time.monotonic`
        available = cut_after(settings.timeout)
        # A drain with little time left still gives closing handshakes some.
        deadline = max(self._begun + available, started + available * (1 - _LAST_SHARE))
        last = self._begun + available * _LAST_SHARE
        closing = min(last, self._begun + settings.natural_end)
        _log.info(
            "drain begins",
            sessions=self._at_start,
            timeout=settings.timeout,
            seconds_gone=round(max(0.0, started - self._begun), 3),  # the loop's time is that of its turn
        )
        await self._look()
        # Those that ended before the list was complete. A handshake under way is in flight, and in the list
        # only when it has become a session.
        self._count("natural", max(0, self._at_start - max(len(self._seen), self._in_flight())))
        await self._wait(closing)
        await self._close_all(closing, last, deadline)
        await self._wait(deadline, tell_late=True)
        # Counted now, not after another look: from here on the forwarders cut what is left.
        left = self._in_flight()
        self._count("closed", max(0, len(self._seen) - left))
        self._count("aborted", left)
        end = loop.time() + _CUT_WITHIN
        while self._in_flight() and loop.time() < end:  # noqa: ASYNC110 - it ends with a count, not an event
            await asyncio.sleep(_TICK)
        _log.info("drain ends", seconds=round(loop.time() - started, 3), left=left, **self.outcomes)

    async def _look(self) -> list[Silence]:
        """List the sessions, count those that are gone, and return those that are not told yet."""
        rows = await self._rows()
        live = {identifier for identifier, _ in rows}
        gone = self._seen - live
        self._count("closed", len(gone & self._told))
        self._count("natural", len(gone - self._told))
        self._told -= gone
        self._seen = live
        return [row for row in rows if row[0] not in self._told]

    def _count(self, outcome: str, sessions: int) -> None:
        self.outcomes[outcome] += sessions
        self._words[OUTCOMES[outcome]] += sessions

    async def _close_all(self, first: float, last: float, deadline: float) -> None:
        """Tell every session, in rounds, each of which goes by a new list.

        Args:
            first: When to begin; ``drain.window`` counts from here, even if we are late.
            last: When all should have been told, even if ``drain.rate`` is exceeded then.
            deadline: When all must be over.
        """
        loop = asyncio.get_running_loop()
        begin = loop.time()
        is_first = True
        while untold := await self._look():
            begin = max(begin, loop.time())  # No burst makes up for the time that a slow list took.
            slot = self._slot(len(untold), begin, first, last)
            if is_first:
                self._warn_if_too_short(slot, len(untold))
                is_first = False
            told, all_heard = await self._tell_round(untold, slot, begin, deadline)
            # The next round begins where this one's slots end, not now, so that the rate stays the same.
            begin += told * slot
            await asyncio.sleep(max(0.0 if all_heard else _TICK, begin - loop.time()))
            if not all_heard and loop.time() >= deadline:
                return

    def _slot(self, sessions: int, begin: float, first: float, last: float) -> float:
        """Return the seconds from telling one session until telling the next, from ``begin`` on."""
        settings = self._settings
        window = None if settings.window is None else first + settings.window - begin
        return slot_width(sessions, rate=settings.rate, window=window, available=last - begin)

    def _warn_if_too_short(self, slot: float, sessions: int) -> None:
        """Warn if sessions are told faster than ``drain.rate`` says."""
        rate = self._settings.rate
        if self._settings.window is None and slot * rate < min(rate, 0.99):
            _log.warning("drain.timeout is too short for drain.rate", sessions=sessions)

    async def _tell_round(
        self, untold: Sequence[Silence], slot: float, begin: float, deadline: float
    ) -> tuple[int, bool]:
        """Tell the first sessions of a plan, those of the next `_ROUND` seconds.

        Returns:
            How many had their turn, and whether each order could be sent.
        """
        loop = asyncio.get_running_loop()
        told, all_heard = 0, True
        for identifier, delay in plan(untold, slot=slot, randomness=random.Random()):
            pause = begin + delay - loop.time()
            if pause > 0:
                await asyncio.sleep(pause)
            all_heard &= self._tell(identifier, deadline)
            told += 1
            if told * slot >= _ROUND:
                break
        return told, all_heard

    def _tell(self, identifier: int, deadline: float) -> bool:
        """Order one session closed; return false if that could not be sent: the next round repeats it."""
        heard = self._close(identifier, max(0.0, deadline - asyncio.get_running_loop().time()))
        if heard:
            self._told.add(identifier)
        return heard

    async def _wait(self, until: float, *, tell_late: bool = False) -> None:
        """Wait until no session is left or the time has come; ``tell_late``: tell new sessions at once."""
        loop = asyncio.get_running_loop()
        look_at = loop.time() + _ROUND
        while self._in_flight() and (now := loop.time()) < until:
            if now >= look_at:
                look_at = now + _ROUND
                for identifier, _ in await self._look():
                    if tell_late:
                        self._tell(identifier, until)
            await asyncio.sleep(min(_TICK, max(0.001, until - loop.time())))
