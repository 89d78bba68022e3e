"""Refusals by Close: a 101 followed by nothing but a Close frame; or, if it is so configured, by 503.

The 101 echoes the first subprotocol offered, or browsers would fail the handshake and
never see the close code. A refused connection is no session and holds no lease; held
ones are bounded in number, and above the bound nobody is held.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from bascule.errors import HandshakeRefused
from bascule.gateway.answer import error_answer
from bascule.gateway.legs import farewell
from bascule.policy.holdoff import HoldOff
from bascule.protocol.frames import CloseCode, CloseWatch, close_frame
from bascule.protocol.handshake import Offer, refusal_subprotocol, switching_protocols

if TYPE_CHECKING:
    from bascule.gateway.legs import Leg
    from bascule.policy.config import Limits

REFUSED_STATUS: Final = 503
"""The status of a refusal that is none by Close."""

_HOLD_READS: Final = 64
"""Reads of what a held browser says; whoever says more waits unread."""

_LOOK_EVERY: Final = 1.0
"""Seconds between two looks whether such a one has left."""


class Refuser:
    """Answers upgrades that become no session.

    Args:
        limits: How long and how many repeats are held at most, and how they are told.

    Attributes:
        hold_off: Whom to hold, and for how long.
        held: How many are held now.
        says_close: Whether they are told by Close, and not by an HTTP status.
    """

    def __init__(self, limits: Limits) -> None:
        self.hold_off = HoldOff(limits.refusal_hold_max)
        self.held = 0
        self.says_close = limits.reject_mode == "close"
        self._max_held = limits.max_held_refusals

    async def refuse(
        self, leg: Leg, early: bytes, offer: Offer, code: CloseCode, reason: str, client: str, path: bytes
    ) -> float:
        """Say 101, hold a repeat for a while, say Close, or hold it and say 503; the leg is closed then.

        Args:
            leg: The browser's connection.
            early: What was read of it behind the head.
            offer: What it asked for.
            code: Of the Close.
            reason: Of the Close, or what the 503 says.
            client: Who it is, for the hold-off.
            path: Where it leads, for the hold-off.

        Returns:
            The seconds this refusal was held: less than was meant when the browser left or said Close.

        Cancellation: safe; the leg is closed.
        """
        now = time.monotonic()
        hold = self.hold_off.refuse(client, path, now)
        if self.held >= self._max_held:
            hold = 0.0
        opening = _opening(offer) if self.says_close else b""
        watch = CloseWatch()
        held = 0.0
        try:
            if not watch.feed(early) and hold:
                if opening:
                    await leg.write(opening)
                    opening = b""
                stays = await self._hold(leg, watch, hold)
                held = min(hold, time.monotonic() - now)
                if not stays:
                    return held
            if self.says_close:
                if rest := leg.write_now(opening + close_frame(code, reason)):
                    await leg.write(rest)
                if not watch.seen:
                    await farewell(leg, watch.feed)
            else:
                await error_answer(leg, HandshakeRefused(REFUSED_STATUS, reason, (("Retry-After", "1"),)))
        except OSError:
            pass
        finally:
            leg.close()
        return held

    async def _hold(self, leg: Leg, watch: CloseWatch, seconds: float) -> bool:
        """Wait while the browser stays; tell whether it did.

        Who says Close is answered with ours at once (RFC 6455 §5.5.1), and hears the reason so.
        """
        self.held += 1
        try:
            async with asyncio.timeout(seconds):
                for _ in range(_HOLD_READS):
                    data = await leg.read()
                    if not data or watch.feed(data):
                        return bool(data)
                while not leg.is_gone():  # noqa: ASYNC110 - what it says stays unread, so nothing tells us
                    await asyncio.sleep(_LOOK_EVERY)
            return False
        except TimeoutError:
            return True
        except OSError:
            return False
        finally:
            self.held -= 1


def _opening(offer: Offer) -> bytes:
    """Build the 101 that a Close follows."""
    chosen = refusal_subprotocol(offer)
    return switching_protocols(offer.key, ((b"Sec-WebSocket-Protocol", chosen),) if chosen else ())
