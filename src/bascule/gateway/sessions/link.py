"""The channel to one forwarder: receives what it says, packet by packet.

A packet is taken from the channel only when it has been acted on: should this process die before, the next
gateway finds it there.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from bascule.errors import HandoverError
from bascule.handover.messages import decode

if TYPE_CHECKING:
    import socket
    from collections.abc import MutableSequence

    from bascule.handover.control import ForwarderChannel
    from bascule.handover.descriptors import PacketReader
    from bascule.handover.messages import Message

__all__ = ["Hearer", "Link"]


class Hearer(Protocol):
    """Acts on what a `Link` receives."""

    def on_message(self, link: Link, message: Message) -> None:
        """Act on one message of a packet.

        Raises:
            HandoverError: A gateway does not take such a message.
            LookupError: A value in it means nothing.
            ValueError: Likewise.
        """

    def on_packet(self, link: Link) -> None:
        """Each message of a packet has been acted on, and the packet is taken."""

    def on_end(self, link: Link) -> None:
        """The other side has closed the channel, or has died."""

    def on_failure(self, link: Link, error: Exception) -> None:
        """What came, or will come, cannot be read, so we do not know what the forwarder says."""


class Link:
    """The channel to one forwarder.

    Args:
        process: Whose channel it is, as the supervisor says.
        channel: Our end.
        reader: Receives from all channels of this process.
        hearer: Acts on what is received.
        words: The counters of the forwarder's slot.
        former: An earlier channel to the same process.
        is_left: Whether it was the channel of a gateway that has died.

    Attributes:
        slot: The forwarder's slot.
        pid: Its process.
        restarts: How often the slot had been started again before, which tells its processes apart.
        hot_path: Which build of the relay it runs.
        number: Of the channel, among all there ever were.
        channel: Our end.
        words: The counters of the forwarder's slot.
        former: An earlier channel to the same process, until `listed`.
        listed: Whether it has listed all sessions that it carries: only then is it given more.
        moved: Whether it has told us that another gateway has a channel to it now.
        failed: Whether we could not read all that it said.
        carried: The sessions that it has listed so far; empty when `listed`.
        is_left: Whether it was the channel of a gateway that has died: then only outcomes are of use.
    """

    def __init__(
        self,
        process: ForwarderChannel,
        channel: socket.socket,
        *,
        reader: PacketReader,
        hearer: Hearer,
        words: MutableSequence[int] | memoryview,
        former: Link | None = None,
        is_left: bool = False,
    ) -> None:
        self.slot = process.slot
        self.pid = process.pid
        self.restarts = process.restarts
        self.hot_path = process.hot_path
        self.number = process.number
        self.channel = channel
        self.words = words
        self.former = former
        self.listed = False
        self.moved = False
        self.failed = False
        self.carried: set[int] = set()
        self.is_left = is_left
        self._reader = reader
        self._hearer = hearer

    @property
    def is_open(self) -> bool:
        """Whether there may be more to read."""
        return self.channel.fileno() >= 0

    def start(self) -> None:
        """Receive whatever comes, as soon as it is there; if the loop cannot watch it, that is a failure."""
        self.channel.setblocking(False)
        try:
            asyncio.get_running_loop().add_reader(self.channel.fileno(), self.receive)
        except OSError as error:  # for want of memory, or by the user's limit of watches
            self._hearer.on_failure(self, error)

    def close(self) -> None:
        """Receive no more; doing so twice is harmless."""
        if self.is_open:
            asyncio.get_running_loop().remove_reader(self.channel.fileno())
            self.channel.close()

    def receive(self) -> bool:
        """Let one packet be acted on, or the end of the channel; tell whether there may be more."""
        hearer = self._hearer
        try:
            packet = self._reader.look(self.channel)
        except BlockingIOError:
            return False
        except (OSError, HandoverError) as error:
            hearer.on_failure(self, error)
            return False
        if not packet.data:
            hearer.on_end(self)
            return False
        problem: Exception | None = None
        try:
            for message in decode(packet.data):
                hearer.on_message(self, message)
        except (HandoverError, LookupError, ValueError) as error:
            problem = error
        finally:
            # Also what we cannot read, or fail at: left there, it would come again and again.
            self._reader.take(self.channel)
        if problem is not None:
            hearer.on_failure(self, problem)
            return False
        hearer.on_packet(self)
        if packet.after_reset:
            # uvloop tells only once of a channel that has failed, whatever lies before its end.
            self.receive_all()
        return True

    def receive_all(self) -> None:
        """Let all be acted on that the forwarder has said so far."""
        while self.is_open and self.receive():
            pass
