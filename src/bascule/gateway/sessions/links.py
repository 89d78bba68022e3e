"""The channels to all forwarders: what each message means, and what the end of a channel does.

On a new channel the forwarder first lists the sessions that it already carries: so
another gateway takes over the count. What the one before has left unread, it reads to its end.

A channel on which one side says what the other cannot read tells no longer who has which session. That is a
fault of ours, and must not end the sessions: the side that notices asks the supervisor for another channel,
whose list says which sessions there are. Until then we know them as before, and the forwarder gets no more.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Protocol

import structlog

from bascule.errors import HandoverError
from bascule.gateway.life import Life, Stage
from bascule.gateway.sessions.link import Link
from bascule.gateway.sessions.listing import Listings
from bascule.handover.control import ForwarderChannel
from bascule.handover.counters import ForwarderWord
from bascule.handover.descriptors import PacketReader, send_packet
from bascule.handover.messages import Close, Ended, Listed, Live, Message, Moved

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Mapping, MutableSequence

__all__ = ["Bookkeeper", "Links"]

_log = structlog.get_logger()

_CHANNEL: Final = int(ForwarderWord.CHANNEL)
_DIED_ON: Final = int(ForwarderWord.DIED_ON)
_GIVEN: Final = int(ForwarderWord.GIVEN)


class Bookkeeper(Protocol):
    """Keeps the books of sessions, by what forwarders tell."""

    def on_live(self, slot: int, live: Live) -> None:
        """A forwarder lists a session on a new channel."""

    def on_ended(self, slot: int, ended: Ended) -> None:
        """A session has ended."""

    def on_listed(self, slot: int, carried: set[int], counted: bool) -> None:
        """A forwarder has listed all that it carries.

        Args:
            slot: Its slot.
            carried: Those sessions.
            counted: Whether it has counted those that it carries no longer, since we could not read all that
                it said.
        """

    def on_lost(self, link: Link) -> None:
        """A forwarder is gone with its sessions.

        Args:
            link: Says which forwarder, and by `Link.listed` whether we knew all its sessions.
        """


class Links:
    """The channels to all forwarders.

    Args:
        counts: Sessions by slot.
        books: Is told of the sessions.
        ask: Called to have another channel in the place of one that failed: with its slot and number.
        words: Returns a slot's counters. They say on which channel its forwarder tells its outcomes, even one
            that has died: it may not have had the room to tell us of another gateway. And what was given to
            it is noted there, for the next gateway.
        life: Tells whether this gateway has retired: then a forwarder that has another channel has moved
            to another gateway, and is none of our business any more.
        slots: How many there are.

    Attributes:
        by_slot: The channels by slot.
        changed: Set when a forwarder has listed its sessions, or its channel has ended.
    """

    def __init__(
        self,
        *,
        counts: Mapping[int, int],
        books: Bookkeeper,
        ask: Callable[[int, int], None],
        words: Callable[[int], MutableSequence[int] | memoryview],
        life: Life,
        slots: int,
    ) -> None:
        self.by_slot: dict[int, Link] = {}
        self.changed = asyncio.Event()
        self._counts = counts
        self._books = books
        self._ask = ask
        self._words = words
        self._blocks = [words(slot) for slot in range(slots)]
        self._life = life
        self._reader = PacketReader()
        self._listings = Listings()

    def add(self, process: ForwarderChannel, channel: socket.socket) -> None:
        """Take a channel to a forwarder; a former process of that slot is gone.

        The same process gets a second channel if it had no descriptor for the first, or one side could not
        read the first. Then we may still have to read the end of that.
        """
        slot = process.slot
        former = self.by_slot.get(slot)
        if former is not None and former.restarts != process.restarts:
            # Outcomes that are still to be read count: those sessions were not lost with their forwarder.
            former.receive_all()
            if self.by_slot.get(slot) is former:
                self._lose(former)
            former = None
        link = self.by_slot[slot] = self._link(process, channel, former)
        link.start()

    def read_rest(self, slot: int, channel: socket.socket) -> None:
        """Act on the outcomes that a gateway which has died left unread on its channel to a forwarder.

        The forwarder may still tell some there, and ends that channel when it has ours, or by its own death.
        """
        nobody = ForwarderChannel(slot, pid=0, hot_path="", restarts=0, number=0)
        self._link(nobody, channel, is_left=True).start()

    def _link(
        self,
        process: ForwarderChannel,
        channel: socket.socket,
        former: Link | None = None,
        *,
        is_left: bool = False,
    ) -> Link:
        return Link(
            process, channel, reader=self._reader, hearer=self, words=self._words(process.slot),
            former=former, is_left=is_left,
        )  # fmt: skip

    @property
    def is_linked(self) -> bool:
        """Whether a forwarder may still tell us anything."""
        return any(link.is_open for link in self.by_slot.values())

    def unlisted(self) -> int:
        """Return how many sessions are open that we have not been told of.

        A forwarder that hangs is not waited for when a gateway begins, nor is our channel to it; it lists its
        sessions when it goes on. A former gateway has noted how many those are.
        """
        # Asked with every handshake: a sum of a generator costs thrice.
        sessions = 0
        for slot, words in enumerate(self._blocks):
            link = self.by_slot.get(slot)
            if link is None or not link.listed:
                sessions += max(0, words[_GIVEN] - self._counts.get(slot, 0))
        return sessions

    def note_given(self, link: Link, more: int = 0) -> None:
        """Note for the next gateway how many sessions a forwarder has, unless it has another one already.

        Args:
            link: The channel to it.
            more: Sessions that are about to be given to it.
        """
        words = link.words
        if words[_CHANNEL] == link.number:
            words[_GIVEN] = self._counts.get(link.slot, 0) + more

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
        link = self.by_slot.get(slot)
        if link is None:
            return False
        try:
            send_packet(link.channel, Close(identifier, end, code, within, reason).encode())
        except OSError:
            return False
        return True

    async def list_sessions(self) -> list[Live]:
        """Ask every forwarder for its sessions; one that does not answer in time is left out."""
        return await self._listings.ask(self.by_slot.values())

    # -- what forwarders say --------------------------------------------------------------

    def on_message(self, link: Link, message: Message) -> None:
        """See `Hearer.on_message`."""
        match message:
            case Ended():
                self._books.on_ended(link.slot, message)
            case _ if link.is_left:
                pass
            case Live(request=0):
                link.carried.add(message.id)
                self._books.on_live(link.slot, message)
            case Live():
                self._listings.on_live(message)
            case Listed(request=0):
                self._know(link)
            case Moved():
                link.moved = True
            case Listed():
                self._listings.on_listed(link.slot, message)
            case _:
                raise HandoverError(f"a gateway does not take {type(message).__name__}")

    def on_packet(self, link: Link) -> None:
        """See `Hearer.on_packet`."""
        if link.listed:
            self.note_given(link)

    def _know(self, link: Link) -> None:
        """Note that a forwarder has listed all that it carries. What a former channel brings came before."""
        former, link.former = link.former, None
        told_in_vain = False  # outcomes, on a channel that we could not read to its end
        while former is not None:
            former.receive_all()
            told_in_vain |= former.failed
            former = former.former
        carried, link.carried = link.carried, set()
        self._books.on_listed(link.slot, carried, told_in_vain)
        link.listed = True
        self.changed.set()

    # -- how a channel ends ---------------------------------------------------------------

    def on_end(self, link: Link) -> None:
        """See `Hearer.on_end`."""
        if link.is_left:
            link.close()
        elif self._life.stage is Stage.RETIRED:
            if link.moved or link.number not in (link.words[_CHANNEL], link.words[_DIED_ON]):
                self._leave(link)
            else:
                self._lose(link)
        elif link.former is not None or link.moved:
            # It has another channel, which is on its way to us. Or it had no descriptor for its end of this
            # one, and has asked for another. Or it has died, and its successor will have one.
            self._give_up(link)
        else:
            self._lose(link)

    def on_failure(self, link: Link, error: Exception) -> None:
        """See `Hearer.on_failure`: give the channel up, and ask for another."""
        _log.error("channel failed", slot=link.slot, error=str(error))
        link.failed = True
        self._give_up(link)
        if self.by_slot.get(link.slot) is link:
            self._ask(link.slot, link.number)

    def _give_up(self, link: Link) -> None:
        """Close the channel of a forwarder that lives, for all that we know; its sessions go on."""
        self._close(link)
        link.listed = False
        self.changed.set()

    def _lose(self, link: Link) -> None:
        if self._leave(link):
            self._books.on_lost(link)
            self.note_given(link)

    def _leave(self, link: Link) -> bool:
        """Close a channel and forget it; tell whether it was its forwarder's last one."""
        self._close(link)
        if self.by_slot.get(link.slot) is not link:
            return False
        del self.by_slot[link.slot]
        self.changed.set()
        return True

    def _close(self, link: Link) -> None:
        link.close()
        if not link.is_left:
            self._listings.on_end(link.slot)
