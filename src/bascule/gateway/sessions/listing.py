"""Asks the forwarders for a list of their sessions, with how idle each is and what it has carried."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from typing import TYPE_CHECKING, Final

import structlog

from bascule.handover.descriptors import send_packet
from bascule.handover.messages import List, Listed, Live

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bascule.gateway.sessions.link import Link

__all__ = ["Listings"]

_log = structlog.get_logger()

_TIMEOUT: Final = 2.0
"""Seconds a forwarder may take to list its sessions."""


class _Listing:
    """One request for a list, and what the forwarders have answered.

    Attributes:
        found: The sessions so far.
        waiting: Slots of the forwarders that have not sent their part.
        done: Set when there are none left.
    """

    def __init__(self, slots: Iterable[int]) -> None:
        self.found: list[Live] = []
        self.waiting = set(slots)
        self.done = asyncio.Event()
        if not self.waiting:
            self.done.set()

    def heard(self, slot: int) -> None:
        """Wait no more for a forwarder: it has sent its part, or its channel has ended."""
        self.waiting.discard(slot)
        if not self.waiting:
            self.done.set()


class Listings:
    """The lists that were asked for and are not complete yet."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._asked: dict[int, _Listing] = {}

    async def ask(self, links: Iterable[Link]) -> list[Live]:
        """Ask forwarders for their sessions; one that does not answer in time is left out.

        Cancellation: safe; what still comes is for nobody.
        """
        request = next(self._numbers)
        slots = []
        for link in links:
            with contextlib.suppress(OSError):
                send_packet(link.channel, List(request).encode())
                slots.append(link.slot)
        listing = self._asked[request] = _Listing(slots)
        try:
            async with asyncio.timeout(_TIMEOUT):
                await listing.done.wait()
        except TimeoutError:
            _log.warning("forwarders did not list their sessions in time", slots=sorted(listing.waiting))
        finally:
            del self._asked[request]
        return listing.found

    def on_live(self, live: Live) -> None:
        """Add a session to the list that it is for."""
        if listing := self._asked.get(live.request):
            listing.found.append(live)

    def on_listed(self, slot: int, listed: Listed) -> None:
        """A forwarder has sent its part of a list."""
        if listing := self._asked.get(listed.request):
            listing.heard(slot)

    def on_end(self, slot: int) -> None:
        """The channel to a forwarder has ended: no list waits for it any more."""
        for listing in self._asked.values():
            listing.heard(slot)
