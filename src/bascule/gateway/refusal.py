"""Refusals by Close: a 101 followed by nothing but a Close frame; or, if it is so configured, by 503.

The 101 echoes the first subprotocol offered, or browsers would fail the handshake and
never see the close code. A refused connection is no session and holds no lease; held
ones are bounded in number, and above the bound nobody is held.
"""

from __future__ import annotations

import asyncio
import time
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from bascule.errors import HandshakeRefused
from bascule.gateway.answer import error_bytes, leave
from bascule.gateway.legs import farewell
from bascule.policy.holdoff import HoldOff
from bascule.protocol.frames import CloseCode, CloseWatch, close_frame
from bascule.protocol.handshake import Offer, refusal_subprotocol, switching_protocols

if TYPE_CHECKING:
    from bascule.gateway.legs import Leg
    from bascule.gateway.life import Life
    from bascule.policy.config import Limits
    from bascule.policy.routeconfig import RejectMode

REFUSED_STATUS: Final = 503
"""The status of a refusal that is none by Close."""

_HOLD_READS: Final = 64
"""Reads of what a held browser says; whoever says more waits unread."""

_LOOK_EVERY: Final = 1.0
"""Seconds between two looks whether such a one has left."""


class Refuser:
    """Answers upgrades that become no session.

    Args:
        limits: How long and how many repeats are held at most.
        life: Whether anybody is held.

    Attributes:
        hold_off: Whom to hold, and for how long.
        under_way: How many are being refused: held, told or heard out.
    """

    def __init__(self, limits: Limits, life: Life) -> None:
        self._life = life
        self.hold_off = HoldOff(limits.refusal_hold_max)
        self.under_way = 0
        self._max_held = limits.max_held_refusals
        self._holds: set[asyncio.Timeout] = set()

    @property
    def held(self) -> int:
        """How many are held now."""
        return len(self._holds)

    def release(self) -> None:
        """Tell those at once who are held now."""
        for hold in self._holds:
            if not hold.expired():
                hold.reschedule(0)

    def seconds_for(self, client: str, path: bytes) -> float:
        """Return how long a client is held that is refused now: not at all the first time.

        Args:
            client: Who it is.
            path: Where it leads.
        """
        seconds = self.hold_off.refuse(client, path, time.monotonic())
        return seconds if self._life.holds and self.held < self._max_held else 0.0

    async def hold(self, leg: Leg, watch: CloseWatch, seconds: float) -> bool:
        """Wait while the browser stays; tell whether it did.

        Who says Close is answered with ours at once (RFC 6455 §5.5.1), and hears the reason so.
        """
        try:
            # While the 101 was written we may have begun to leave.
            async with asyncio.timeout(seconds if self._life.holds else 0.0) as hold:
                self._holds.add(hold)
                try:
                    for _ in range(_HOLD_READS):
                        data = await leg.read()
                        if not data or watch.feed(data):
                            return bool(data)
                    while not leg.is_gone():  # noqa: ASYNC110 - what it says is unread: nothing tells us
                        await asyncio.sleep(_LOOK_EVERY)
                finally:
                    self._holds.discard(hold)
            return False
        except TimeoutError:
            return True
        except OSError:
            return False


class Refusing:
    """One refusal: a 101, a wait for a client that repeats itself, and a Close; or the wait and a 503.

    Args:
        refuser: Of all.
        leg: The browser's connection.
        early: What was read of it behind the head.
        offer: What it asked for.
        mode: How it is told.
        code: Of the Close.
        reason: Of the Close, or what the 503 says.

    Attributes:
        held: Seconds it was held: less than was meant when the browser left or said Close, or we leave.
        said: Whether what it is told was written. A browser that leaves before hears nothing.
    """

    __slots__ = ("_by_close", "_early", "_last", "_leg", "_opening", "_refuser", "_watch", "held", "said")

    def __init__(
        self,
        refuser: Refuser,
        leg: Leg,
        early: bytes,
        offer: Offer,
        mode: RejectMode,
        code: CloseCode,
        reason: str,
    ) -> None:
        self._refuser = refuser
        self._by_close = mode == "close"
        self._leg = leg
        self._early = early
        self._watch = CloseWatch()
        self.held = 0.0
        self.said = False
        if self._by_close:
            self._opening, self._last = _opening(offer), _close(code, reason)
        else:
            refused = HandshakeRefused(REFUSED_STATUS, reason, (("Retry-After", "1"),))
            self._opening, self._last = b"", error_bytes(refused)

    async def run(self, hold: float) -> None:
        """Do it; the leg is closed then.

        Args:
            hold: Seconds to wait before the last word.

        Cancellation: safe; the leg is closed, and what came of it till then is known.
        """
        self._refuser.under_way += 1
        try:
            closes = self._early and self._watch.feed(self._early)
            if closes or not hold or await self._stays(hold):
                await self._say()
        except OSError:
            pass
        finally:
            self._leg.close()
            self._refuser.under_way -= 1

    async def _stays(self, hold: float) -> bool:
        """Hold the browser; tell whether it is still there."""
        began = time.monotonic()
        if self._opening:
            await self._leg.write(self._opening)
            self._opening = b""
        try:
            return await self._refuser.hold(self._leg, self._watch, hold)
        finally:
            self.held = min(hold, time.monotonic() - began)

    async def _say(self) -> None:
        """Say the last word, and hear the browser out."""
        leg = self._leg
        if rest := leg.write_now(self._opening + self._last):
            await leg.write(rest)
        self.said = True
        if not self._by_close:
            await leave(leg)
        elif not self._watch.seen:
            await farewell(leg, self._watch.feed)


_close: Final = lru_cache(maxsize=64)(close_frame)
"""The refusals' Closes, of which there are as many as rows with one (`bascule.gateway.refusal_table`)."""


def _opening(offer: Offer) -> bytes:
    """Build the 101 that a Close follows."""
    chosen = refusal_subprotocol(offer)
    return switching_protocols(offer.key, ((b"Sec-WebSocket-Protocol", chosen),) if chosen else ())
