"""Channels to the forwarders: hand sessions over, hear how they ended.

Either a forwarder takes a session, or no forwarder has it and its `Handed` is told so; there
is no third case. Everything handed over to a forwarder in one turn of the loop travels in one
packet: the forwarder wakes up once, and the two processes do not push each other off a core
for each session.

On a new channel the forwarder first lists the sessions that it already carries: so
another gateway takes over the count.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import resource
import time
from collections import deque
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

import structlog

from bascule.errors import HandoverError
from bascule.gateway.life import Life, Stage
from bascule.handover.descriptors import END, PacketReader, send_packet, sessions_that_fit
from bascule.handover.messages import Close, Ended, List, Listed, Live, Message, Moved, decode, join

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterable

__all__ = ["Dispatch", "Handed", "Link"]

_log = structlog.get_logger()

_RETRY: Final = 0.02
"""Seconds until a session that no forwarder could take is offered again."""

_PATIENCE: Final = 2.0
"""Seconds until such a session is given up; a forwarder that is being restarted is back by then."""

_LIST_TIMEOUT: Final = 2.0
"""Seconds a forwarder may take to list its sessions."""


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
        """No forwarder took the session in `_PATIENCE`."""


_Offered: TypeAlias = tuple[float, Handed]
"""The monotonic time at which a session is given up, and the session."""


class Link:
    """The channel to one forwarder.

    Attributes:
        slot: The forwarder's slot.
        pid: Its process.
        restarts: How often the slot had been started again before, which tells its processes apart.
        hot_path: Which build of the relay it runs.
        channel: Our end.
        listed: Whether it has listed all sessions that it carries: only then is it given more.
        moved: Whether it has told us that another gateway has a channel to it now.
    """

    def __init__(self, slot: int, pid: int, restarts: int, hot_path: str, channel: socket.socket) -> None:
        self.slot = slot
        self.pid = pid
        self.restarts = restarts
        self.hot_path = hot_path
        self.channel = channel
        self.listed = False
        self.moved = False


class _Listing:
    """One request for a list of all sessions, and what the forwarders have answered.

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


class Dispatch:
    """All forwarders.

    Args:
        counts: Sessions by slot, for placement.
        on_live: Called with each session that a forwarder lists on a new channel.
        on_ended: Called with each outcome.
        on_lost: Called when a forwarder is gone with its sessions. The `Link` says which forwarder, and by
            `listed` whether we knew all of them.
        life: Tells whether this gateway has retired: then a forwarder that has moved to another gateway is
            not lost when its channel ends.
        most: Sessions that a forwarder may carry; ``None`` for as many as its descriptors allow.

    Attributes:
        links: The channels by slot.
        changed: Set when a forwarder has listed its sessions, or its channel has ended.
    """

    def __init__(
        self,
        counts: dict[int, int],
        on_live: Callable[[int, Live], None],
        on_ended: Callable[[int, Ended], None],
        on_lost: Callable[[Link], None],
        life: Life,
        *,
        most: int | None = None,
    ) -> None:
        self.links: dict[int, Link] = {}
        self._counts = counts
        fit = sessions_that_fit(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        self._most = fit if most is None else most
        self._on_live = on_live
        self._on_ended = on_ended
        self._on_lost = on_lost
        self._reader = PacketReader()
        self._requests = itertools.count(1)
        self._lists: dict[int, _Listing] = {}
        self._handed: list[_Offered] = []
        self.changed = asyncio.Event()
        self._life = life

    def add(self, slot: int, pid: int, restarts: int, hot_path: str, channel: socket.socket) -> None:
        """Take a channel to a forwarder; a former process of that slot is gone.

        The same process gets a second channel if it had no descriptor for the first. Then we may still
        have to read the end of the first.
        """
        former = self.links.get(slot)
        if former is not None and former.restarts != restarts:
            # Outcomes that are still to be read count: those sessions were not lost with their forwarder.
            while self._receive(former):
                pass
            if self.links.get(slot) is former:
                self._lose(former)
        channel.setblocking(False)
        link = self.links[slot] = Link(slot, pid, restarts, hot_path, channel)
        asyncio.get_running_loop().add_reader(channel.fileno(), self._receive, link)

    def has_room(self) -> bool:
        """Tell whether a forwarder may open two more descriptors."""
        return bool(self._loads())

    def _loads(self) -> dict[int, int]:
        """Return the sessions of each forwarder that may open two more descriptors, by slot."""
        counts, most = self._counts, self._most
        return {
            slot: load
            for slot, link in self.links.items()
            if link.listed and (load := counts.get(slot, 0)) < most
        }

    def hand_over(self, session: Handed) -> None:
        """Give a session to the forwarder with the fewest sessions, at the end of this turn of the loop.

        Then `Handed.taken` is called, or `Handed.left` if no forwarder took the session in `_PATIENCE`.
        """
        if not self._handed:
            asyncio.get_running_loop().call_soon(self._offer)
        self._handed.append((time.monotonic() + _PATIENCE, session))

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
        now = time.monotonic()
        self._handed = [offered for offered in waiting if offered[0] > now]
        if self._handed:
            asyncio.get_running_loop().call_later(_RETRY, self._offer)
        for until, session in waiting:
            if until <= now:
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
        while share:
            packet, number = join(session.message for _, session in share)
            sent = [session for _, session in share[:number]]
            descriptors = [end.fileno() for session in sent for end in (session.browser, session.upstream)]
            try:
                send_packet(self.links[slot].channel, packet, descriptors)
            except OSError:
                break
            for session in sent:
                session.taken(slot)
            share = share[number:]
        return share

    def close_session(
        self, slot: int, identifier: int, end: int, code: int = 0, reason: bytes = b"", within: float = -1.0
    ) -> bool:
        """Tell a forwarder to end a session; return whether the order was sent.

        Args:
            slot: The forwarder's slot.
            identifier: The session.
            end: The row of the close table.
            code: Replaces the row's close code towards the browser, unless 0.
            reason: Replaces the row's reason, unless empty.
            within: Seconds until all must be over; negative for the configured time of a closing handshake.
        """
        link = self.links.get(slot)
        if link is None:
            return False
        try:
            send_packet(link.channel, Close(identifier, end, code, within, reason).encode())
        except OSError:
            return False
        return True

    async def list_sessions(self) -> list[Live]:
        """Ask every forwarder for its sessions; one that does not answer in time is left out."""
        request = next(self._requests)
        asked = []
        for slot, link in self.links.items():
            with contextlib.suppress(OSError):
                send_packet(link.channel, List(request).encode())
                asked.append(slot)
        listing = self._lists[request] = _Listing(asked)
        try:
            async with asyncio.timeout(_LIST_TIMEOUT):
                await listing.done.wait()
        except TimeoutError:
            _log.warning("forwarders did not list their sessions in time", slots=sorted(listing.waiting))
        finally:
            del self._lists[request]
        return listing.found

    # -- what forwarders say --------------------------------------------------------------

    def _receive(self, link: Link) -> bool:
        """Receive one packet of a forwarder; tell whether there may be more."""
        try:
            packet = self._reader.receive(link.channel)
        except BlockingIOError:
            return False
        except (OSError, HandoverError) as error:
            _log.error("channel failed", slot=link.slot, exc_info=error)
            packet = END
        if not packet.data:
            self._lose(link)
            return False
        for descriptor in packet.descriptors:
            os.close(descriptor)
        for message in decode(packet.data):
            self._on_message(link, message)
        return True

    def _on_message(self, link: Link, message: Message) -> None:
        match message:
            case Ended():
                self._on_ended(link.slot, message)
            case Live(request=0):
                self._on_live(link.slot, message)
            case Live():
                if listing := self._lists.get(message.request):
                    listing.found.append(message)
            case Listed(request=0):
                link.listed = True
                self.changed.set()
            case Moved():
                link.moved = True
            case Listed():
                if listing := self._lists.get(message.request):
                    listing.heard(link.slot)
            case _:
                raise HandoverError(f"a gateway does not take {type(message).__name__}")

    def _lose(self, link: Link) -> None:
        asyncio.get_running_loop().remove_reader(link.channel.fileno())
        link.channel.close()
        for listing in self._lists.values():
            listing.heard(link.slot)
        if self.links.get(link.slot) is not link:
            return  # its forwarder has another channel
        del self.links[link.slot]
        if not (link.moved and self._life.stage is Stage.RETIRED):
            self._on_lost(link)
        self.changed.set()
