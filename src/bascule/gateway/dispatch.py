"""Channels to the forwarders: hand sessions over, hear how they ended.

Either a forwarder takes a session, or no forwarder has it and its `Handed` is told so; there
is no third case. Everything handed over to a forwarder in one turn of the loop travels in one
packet: the forwarder wakes up once, and the two processes do not push each other off a core
for each session.

On a new channel the forwarder first lists the sessions that it already carries: so
another gateway takes over the count. What the one before has left unread, it reads to its end.

A channel on which one side says what the other cannot read tells no longer who has which session. That is a
fault of ours, and must not end the sessions: the side that notices asks the supervisor for another channel,
whose list says which sessions there are. Until then we know them as before, and the forwarder gets no more.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import resource
import time
from collections import deque
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

import structlog

from bascule.errors import HandoverError
from bascule.gateway.life import Life, Stage
from bascule.handover.counters import ForwarderWord
from bascule.handover.descriptors import PacketReader, send_packet, sessions_that_fit
from bascule.handover.messages import Close, Ended, List, Listed, Live, Message, Moved, decode, join

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterable, MutableSequence

__all__ = ["Dispatch", "Handed", "Link"]

_log = structlog.get_logger()

_CHANNEL: Final = int(ForwarderWord.CHANNEL)
_DIED_ON: Final = int(ForwarderWord.DIED_ON)
_GIVEN: Final = int(ForwarderWord.GIVEN)

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
        number: Of the channel, among all there ever were.
        former: An earlier channel to the same process, until `listed`.
        listed: Whether it has listed all sessions that it carries: only then is it given more.
        moved: Whether it has told us that another gateway has a channel to it now.
        failed: Whether we could not read all that it said.
        carried: The sessions that it has listed so far; empty when `listed`.
        is_left: Whether it was the channel of a gateway that has died: then only outcomes are of use.
    """

    def __init__(
        self,
        slot: int,
        pid: int,
        restarts: int,
        hot_path: str,
        number: int,
        channel: socket.socket,
        former: Link | None = None,
        *,
        is_left: bool = False,
    ) -> None:
        self.slot = slot
        self.pid = pid
        self.restarts = restarts
        self.hot_path = hot_path
        self.number = number
        self.channel = channel
        self.former = former
        self.listed = False
        self.moved = False
        self.failed = False
        self.carried: set[int] = set()
        self.is_left = is_left

    @property
    def is_open(self) -> bool:
        """Whether there may be more to read."""
        return self.channel.fileno() >= 0


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
        on_listed: Called when a forwarder has listed all that it carries: with its slot, those sessions, and
            whether it has counted those that it carries no longer, since we could not read all that it said.
        on_lost: Called when a forwarder is gone with its sessions. The `Link` says which forwarder, and by
            `listed` whether we knew all of them.
        ask: Called to have another channel in the place of one that failed: with its slot and number.
        words: Returns a slot's counters. They say on which channel its forwarder tells its outcomes, even one
            that has died: it may not have had the room to tell us of another gateway. And what was given to
            it is noted there, for the next gateway.
        life: Tells whether this gateway has retired: then a forwarder that has another channel has moved
            to another gateway, and is none of our business any more.
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
        on_listed: Callable[[int, set[int], bool], None],
        on_lost: Callable[[Link], None],
        ask: Callable[[int, int], None],
        words: Callable[[int], MutableSequence[int] | memoryview],
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
        self._on_listed = on_listed
        self._on_lost = on_lost
        self._ask = ask
        self._words = words
        self._reader = PacketReader()
        self._requests = itertools.count(1)
        self._lists: dict[int, _Listing] = {}
        self._handed: list[_Offered] = []
        self.changed = asyncio.Event()
        self._life = life

    def add(
        self, slot: int, pid: int, restarts: int, hot_path: str, number: int, channel: socket.socket
    ) -> None:
        """Take a channel to a forwarder; a former process of that slot is gone.

        The same process gets a second channel if it had no descriptor for the first, or one side could not
        read the first. Then we may still have to read the end of that.
        """
        former = self.links.get(slot)
        if former is not None and former.restarts != restarts:
            # Outcomes that are still to be read count: those sessions were not lost with their forwarder.
            self._read_all(former)
            if self.links.get(slot) is former:
                self._lose(former)
            former = None
        channel.setblocking(False)
        link = self.links[slot] = Link(slot, pid, restarts, hot_path, number, channel, former)
        asyncio.get_running_loop().add_reader(channel.fileno(), self._receive, link)

    def read_rest(self, slot: int, channel: socket.socket) -> None:
        """Act on the outcomes that a gateway which has died left unread on its channel to a forwarder.

        The forwarder may still tell some there, and ends that channel when it has ours, or by its own death.
        """
        channel.setblocking(False)
        link = Link(slot, 0, 0, "", 0, channel, is_left=True)
        asyncio.get_running_loop().add_reader(channel.fileno(), self._receive, link)

    @property
    def is_linked(self) -> bool:
        """Whether a forwarder may still tell us anything."""
        return any(link.is_open for link in self.links.values())

    def has_room(self) -> bool:
        """Tell whether a forwarder may open two more descriptors."""
        counts, most = self._counts, self._most
        for slot, link in self.links.items():  # noqa: SIM110 -- asked with every handshake: `any` costs twice
            if link.listed and counts.get(slot, 0) < most:
                return True
        return False

    def _loads(self) -> dict[int, int]:
        """Return the sessions of each forwarder that may open two more descriptors, by slot."""
        counts, most = self._counts, self._most
        return {
            slot: load
            for slot, link in self.links.items()
            if link.listed and (load := counts.get(slot, 0)) < most
        }

    def unlisted(self) -> int:
        """Return how many sessions are open that we have not been told of.

        A forwarder that hangs is not waited for when a gateway begins; it lists its sessions when it goes on.
        A former gateway has noted how many those are.
        """
        sessions = 0
        for slot, link in self.links.items():  # asked with every handshake: a sum of a generator costs thrice
            if not link.listed:
                sessions += max(0, self._words(slot)[_GIVEN] - self._counts.get(slot, 0))
        return sessions

    def _note_given(self, link: Link) -> None:
        """Note for the next gateway how many sessions a forwarder has, unless it has another one already."""
        words = self._words(link.slot)
        if words[_CHANNEL] == link.number:
            words[_GIVEN] = self._counts.get(link.slot, 0)

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
            self._note_given(self.links[slot])
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
        """Act on one packet of a forwarder; tell whether there may be more.

        It is taken from the channel only then: should this process die before, the next gateway finds it.
        """
        try:
            packet = self._reader.look(link.channel)
        except BlockingIOError:
            return False
        except (OSError, HandoverError) as error:
            self._fail(link, error)
            return False
        if not packet.data:
            self._on_end(link)
            return False
        problem: Exception | None = None
        try:
            for message in decode(packet.data):
                self._on_message(link, message)
        except (HandoverError, LookupError, ValueError) as error:  # of a value that means nothing
            problem = error
        finally:
            # Also what we cannot read, or fail at: left there, it would come again and again.
            self._reader.take(link.channel)
        if problem is not None:
            self._fail(link, problem)
            return False
        if link.listed:
            self._note_given(link)
        if packet.after_reset:
            # uvloop tells only once of a channel that has failed, whatever lies before its end.
            self._read_all(link)
        return True

    def _read_all(self, link: Link) -> None:
        """Receive all that a forwarder has said so far."""
        while link.is_open and self._receive(link):
            pass

    def _on_message(self, link: Link, message: Message) -> None:
        match message:
            case Ended():
                self._on_ended(link.slot, message)
            case _ if link.is_left:
                pass
            case Live(request=0):
                link.carried.add(message.id)
                self._on_live(link.slot, message)
            case Live():
                if listing := self._lists.get(message.request):
                    listing.found.append(message)
            case Listed(request=0):
                self._know(link)
            case Moved():
                link.moved = True
            case Listed():
                if listing := self._lists.get(message.request):
                    listing.heard(link.slot)
            case _:
                raise HandoverError(f"a gateway does not take {type(message).__name__}")

    def _know(self, link: Link) -> None:
        """Note that a forwarder has listed all that it carries. What a former channel brings came before."""
        former, link.former = link.former, None
        told_in_vain = False  # outcomes, on a channel that we could not read to its end
        while former is not None:
            self._read_all(former)
            told_in_vain |= former.failed
            former = former.former
        carried, link.carried = link.carried, set()
        self._on_listed(link.slot, carried, told_in_vain)
        link.listed = True
        self.changed.set()

    def _on_end(self, link: Link) -> None:
        if link.is_left:
            self._close(link)
        elif self._life.stage is Stage.RETIRED:
            words = self._words(link.slot)
            if link.moved or link.number not in (words[_CHANNEL], words[_DIED_ON]):
                self._leave(link)
            else:
                self._lose(link)
        elif link.former is not None or link.moved:
            # It has another channel, which is on its way to us. Or it had no descriptor for its end of this
            # one, and has asked for another. Or it has died, and its successor will have one.
            self._give_up(link)
        else:
            self._lose(link)

    def _fail(self, link: Link, error: Exception) -> None:
        """Give a channel up that cannot be read, and ask for another."""
        _log.error("channel failed", slot=link.slot, error=str(error))
        link.failed = True
        self._give_up(link)
        if self.links.get(link.slot) is link:
            self._ask(link.slot, link.number)

    def _give_up(self, link: Link) -> None:
        """Close the channel of a forwarder that lives, for all that we know; its sessions go on."""
        self._close(link)
        link.listed = False
        self.changed.set()

    def _lose(self, link: Link) -> None:
        if self._leave(link):
            self._on_lost(link)
            self._note_given(link)

    def _leave(self, link: Link) -> bool:
        """Close a channel and forget it; tell whether it was its forwarder's last one."""
        self._close(link)
        if self.links.get(link.slot) is not link:
            return False
        del self.links[link.slot]
        self.changed.set()
        return True

    def _close(self, link: Link) -> None:
        if link.is_open:
            asyncio.get_running_loop().remove_reader(link.channel.fileno())
            link.channel.close()
        if not link.is_left:
            for listing in self._lists.values():
                listing.heard(link.slot)
