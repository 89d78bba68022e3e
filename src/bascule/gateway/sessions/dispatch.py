"""Hands sessions over to the forwarders.

Either a forwarder takes a session, or no forwarder has it and its `Handed` is told so; there
is no third case. Everything handed over to a forwarder in one turn of the loop travels in one
packet: the forwarder wakes up once, and the two processes do not push each other off a core
for each session.
"""

from __future__ import annotations

import asyncio
import resource
from collections import deque
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

from bascule.handover.descriptors import send_packet, sessions_that_fit
from bascule.handover.messages import join

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping

    from bascule.gateway.sessions.links import Links

__all__ = ["Dispatch", "Handed"]

_RETRY: Final = 0.02
"""Seconds until a session that no forwarder could take is offered again."""

_MOST_OFFERS: Final = 100
"""Times that a session is offered until it is given up, which takes 2 s: a forwarder that is being restarted
is back by then. By the clock we might have stood still for all of it."""


class Handed(Protocol):
    """A session on its way to a forwarder; `Dispatch` calls either `taken` or `left`, once.

    Attributes:
        message: Its `Adopt`, encoded.
        browser: The browser's connection. The forwarder gets a duplicate; closing this one is up to `Handed`.
        upstream: The upstream's connection, likewise.
    """

    message: bytes
    browser: socket.socket
    upstream: socket.socket

    def taken(self, slot: int) -> None:
        """A forwarder has the session, and duplicates of both connections."""

    def left(self) -> None:
        """No forwarder took the session, however often it was offered."""


_Offered: TypeAlias = tuple[int, Handed]
"""How often a session is offered if nobody takes it, and the session."""


class Dispatch:
    """Chooses a forwarder for each session that is handed over.

    Args:
        links: The channels to the forwarders.
        counts: Sessions by slot.
        most: Sessions that a forwarder may carry; ``None`` for as many as its descriptors allow.
    """

    def __init__(self, links: Links, counts: Mapping[int, int], most: int | None = None) -> None:
        self._links = links
        self._counts = counts
        fit = sessions_that_fit(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        self._most = fit if most is None else most
        self._handed: list[_Offered] = []

    def has_room(self) -> bool:
        """Tell whether a forwarder may open two more descriptors."""
        counts, most = self._counts, self._most
        for slot, link in self._links.by_slot.items():  # noqa: SIM110 -- with every handshake: `any` costs twice
            if link.listed and counts.get(slot, 0) < most:
                return True
        return False

    def _loads(self) -> dict[int, int]:
        """Return the sessions of each forwarder that may open two more descriptors, by slot."""
        counts, most = self._counts, self._most
        return {
            slot: load
            for slot, link in self._links.by_slot.items()
            if link.listed and (load := counts.get(slot, 0)) < most
        }

    def hand_over(self, session: Handed) -> None:
        """Give a session to the forwarder with the fewest sessions, at the end of this turn of the loop.

        Then `Handed.taken` is called, or `Handed.left` if no forwarder took the session after `_MOST_OFFERS`.
        """
        if not self._handed:
            asyncio.get_running_loop().call_soon(self._offer)
        self._handed.append((_MOST_OFFERS, session))

    def _offer(self) -> None:
        """Offer sessions to the forwarders until all are taken or no forwarder can take more."""
        waiting = deque(self._handed)
        loads = self._loads()
        while waiting and loads:
            for slot, share in self._shares(waiting, loads).items():
                if not_taken := self._send(slot, share):
                    # Its channel is full, or it has died and we do not know yet: another forwarder is next.
                    loads.pop(slot, None)
                    waiting.extend(not_taken)
        self._handed = [(left - 1, session) for left, session in waiting if left > 1]
        if self._handed:
            asyncio.get_running_loop().call_later(_RETRY, self._offer)
        for left, session in waiting:
            if left <= 1:
                session.left()

    def _shares(self, waiting: deque[_Offered], loads: dict[int, int]) -> dict[int, list[_Offered]]:
        """Share waiting sessions out, each to the forwarder with the fewest, until none is left or none fits.

        Sessions live for hours, so with a hash or by turns an imbalance would last for hours; with counts
        it does not.
        """
        shares: dict[int, list[_Offered]] = {}
        while waiting and loads:
            slot = min(loads, key=lambda slot: (loads[slot], slot))
            shares.setdefault(slot, []).append(waiting.popleft())
            loads[slot] += 1
            if loads[slot] >= self._most:
                del loads[slot]
        return shares

    def _send(self, slot: int, share: list[_Offered]) -> list[_Offered]:
        """Send sessions to one forwarder; return those that it did not take."""
        link = self._links.by_slot[slot]
        while share:
            packet, number = join(session.message for _, session in share)
            sent = [session for _, session in share[:number]]
            descriptors = [end.fileno() for session in sent for end in (session.browser, session.upstream)]
            self._links.note_given(link, number)  # first: we may die as soon as it has them
            try:
                send_packet(link.channel, packet, descriptors)
            except OSError:
                self._links.note_given(link)
                break
            for session in sent:
                session.taken(slot)
            self._links.note_given(link)
            share = share[number:]
        return share
