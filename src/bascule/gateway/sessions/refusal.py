"""Refusals by Close: a 101 followed by nothing but a Close frame. Or by 503, if ``rejectMode`` says so.

The 101 echoes the first subprotocol offered, or browsers would fail the handshake and
never see the close code. A refused connection is no session and holds no lease. The number
of held connections is bounded; beyond the bound a browser is told without a hold.
"""

from __future__ import annotations

import asyncio
import time
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from bascule.errors import RequestRefused
from bascule.gateway.connections.farewell import Farewells, farewell, say_last
from bascule.gateway.connections.legs import PlainLeg
from bascule.gateway.exchanges import SOON
from bascule.gateway.listening.answer import error_bytes, leave
from bascule.policy.holdoff import HoldOff
from bascule.protocol.frames import CloseCode, CloseWatch, close_frame
from bascule.protocol.handshake import Offer, refusal_subprotocol, switching_protocols

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from bascule.configuration.config import Limits
    from bascule.configuration.route import RejectMode
    from bascule.gateway.connections.legs import Leg
    from bascule.gateway.life import Life

__all__ = ["REFUSED_STATUS", "Refuser", "Refusing"]

REFUSED_STATUS: Final = 503
"""The status of a refusal that is not by Close."""

_HOLD_READS: Final = 64
"""Most reads from a held browser; what it sends beyond them stays unread."""

_LOOK_EVERY: Final = 1.0
"""Seconds between checks whether a browser with unread bytes has left."""


class Refuser:
    """Answers upgrades that become no session.

    Args:
        limits: How long a repeat is held, and how many browsers are held at once, at most.
        life: Tells whether this gateway holds browsers.

    Attributes:
        hold_off: Decides for how long a browser is held.
        farewells: Hears browsers out that were told.
        under_way: Refusals under way: browsers that are held, being told, or given time to close.
    """

    def __init__(self, limits: Limits, life: Life) -> None:
        self._life = life
        self.hold_off = HoldOff(limits.refusal_hold_max)
        self.under_way = 0
        self.farewells = Farewells()
        self._max_held = limits.max_held_refusals
        self._holds: set[asyncio.Timeout] = set()
        self._none_held = asyncio.Event()

    @property
    def held(self) -> int:
        """How many browsers are held now."""
        return len(self._holds)

    @property
    def may_hold(self) -> bool:
        """Whether one more may be held now."""
        return self._life.holds and len(self._holds) < self._max_held

    def release(self) -> None:
        """End all holds, so that held browsers are told at once."""
        for hold in self._holds:
            if not hold.expired():
                hold.reschedule(0)

    async def wait_none_held(self) -> None:
        """Wait until no browser is held: each was told then, as far as it takes that at once, or has left.

        Cancellation: safe.
        """
        while self._holds:
            self._none_held.clear()
            await self._none_held.wait()

    def seconds_for(self, client: str, path: bytes) -> float:
        """Note a refusal; return for how many seconds to hold the browser: 0 for a first refusal.

        Args:
            client: The user's name where it is known, else the client's address.
            path: The path that was asked for, without the query.
        """
        seconds = self.hold_off.refuse(client, path, time.monotonic())
        return seconds if self.may_hold else 0.0

    async def hold(self, leg: Leg, watch: CloseWatch, seconds: float) -> bool:
        """Hold a browser, at most ``seconds``; tell whether it is still connected.

        A Close from the browser ends the hold: it gets ours, with the reason, at once (RFC 6455 §5.5.1).
        """
        try:
            async with asyncio.timeout(seconds) as hold:
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
                    if not self._holds:
                        self._none_held.set()
            return False
        except TimeoutError:
            return True
        except OSError:
            return False


class Refusing:
    """One refusal: a 101, a hold if the browser was refused before, and a Close; or the hold and a 503.

    Args:
        refuser: Holds the browser.
        leg: The browser's connection.
        early: Bytes that were read after the head.
        offer: What the browser asked for.
        mode: Whether it is told by Close or by 503.
        code: The close code.
        reason: The close reason, or the detail of the 503.

    Attributes:
        held: Seconds the browser was held: fewer than planned if it left or sent Close, or the hold was
            ended because the gateway leaves or drains.
        said: Whether the Close or the 503 was written. A browser that leaves before gets neither.
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
            refused = RequestRefused(REFUSED_STATUS, reason, SOON)
            self._opening, self._last = b"", error_bytes(refused)

    def begin(self, hold: float, decided: Callable[[], None]) -> Coroutine[Any, Any, None] | None:
        """Refuse the browser, then close the leg.

        Args:
            hold: Seconds to wait before the Close or the 503.
            decided: Called once, when `held` and `said` are known and before the browser is heard out,
                for whatever happens to this process meanwhile.

        Returns:
            What a task has to do; ``None`` in the usual case: without TLS, nobody held, and there was room
            for all we say.

        Cancellation of that task: safe; the leg is closed, and `decided` has been called.
        """
        leg = self._leg
        if hold or not isinstance(leg, PlainLeg):
            return self._run(hold, decided)
        self._watch.feed(self._early)
        try:
            rest = leg.write_now(self._opening + self._last)
        except OSError:
            leg.close()
            decided()
            return None
        if rest:
            self._early = self._opening = b""
            self._last = rest
            return self._run(hold, decided)
        self.said = True
        decided()
        if self._by_close and self._watch.seen:
            leg.close()
            return None
        if not self._by_close:
            leg.end()
        self._refuser.under_way += 1
        is_last = self._watch.feed if self._by_close else _never
        self._refuser.farewells.begin(leg, is_last, self._is_over)
        return None

    def _is_over(self) -> None:
        self._refuser.under_way -= 1

    async def _run(self, hold: float, decided: Callable[[], None]) -> None:
        """Do all of it that may take a while."""
        self._refuser.under_way += 1
        try:
            try:
                closes = self._early and self._watch.feed(self._early)
                if closes or not hold or await self._stays(hold):
                    await self._say()
            finally:
                decided()
            if self.said:
                await self._hear_out()
        except OSError:
            pass
        finally:
            self._leg.close()
            self._refuser.under_way -= 1

    async def _stays(self, hold: float) -> bool:
        """Hold the browser; tell whether it is still connected."""
        began = time.monotonic()
        if self._opening:
            await say_last(self._leg, self._opening)
            self._opening = b""
        # The gateway may have begun to leave while the 101 was written, or others that were refused in the
        # same turn of the loop have taken all places.
        if not self._refuser.may_hold:
            return True
        try:
            return await self._refuser.hold(self._leg, self._watch, hold)
        finally:
            self.held = min(hold, time.monotonic() - began)

    async def _say(self) -> None:
        """Write the Close or the 503."""
        await say_last(self._leg, self._opening + self._last)
        self.said = True

    async def _hear_out(self) -> None:
        """Read what the browser still sends."""
        if not self._by_close:
            await leave(self._leg)
        elif not self._watch.seen:
            await farewell(self._leg, self._watch.feed)


def _never(_: bytes) -> bool:
    return False


_close: Final = lru_cache(maxsize=64)(close_frame)
"""Builds the Close of a refusal; there are as many as rows with a code (`refusal_table`)."""


def _opening(offer: Offer) -> bytes:
    """Build the 101 that a Close follows."""
    chosen = refusal_subprotocol(offer)
    return switching_protocols(offer.key, ((b"Sec-WebSocket-Protocol", chosen),) if chosen else ())
