"""The gateways of a forwarder: the one that hands sessions over, and those that another has followed.

Rules of this file: a session that a gateway has handed over is adopted or reported, whichever gateway comes
or goes meanwhile.
"""

from __future__ import annotations

import os
import socket
from collections import deque
from typing import TYPE_CHECKING

from bascule.errors import HandoverError
from bascule.handover.counters import ForwarderWord
from bascule.handover.descriptors import DESCRIPTORS_PER_SESSION, send_packet
from bascule.handover.messages import Adopt, Close, List, Listed, Message, Moved, decode
from bascule.protocol.closing import End

if TYPE_CHECKING:
    from collections.abc import Callable

    from bascule.forwarder.hot import Engine
    from bascule.forwarder.outbox import Outbox
    from bascule.forwarder.relay import Relay
    from bascule.handover.descriptors import Packet, PacketReader

__all__ = ["Gateways"]


class Gateways:
    """The channels to all gateways.

    Args:
        engine: Tells when the gateway has said something.
        relay: Has the sessions.
        outbox: What the gateway is to be told.
        words: The forwarder's counter block.
        reader: Reads packets; others may use it as well.
        missed: Called when a channel cannot be used, or not be read, with its number and what cannot be read.

    Attributes:
        channel: The channel of the gateway that there is; ``None`` while there is none.
        former: Channels of former gateways that have not heard of the one that followed.
        are_gone: Whether there will be no other: sessions that are still handed over end at once.
    """

    def __init__(
        self,
        engine: Engine,
        relay: Relay,
        outbox: Outbox,
        words: memoryview,
        reader: PacketReader,
        missed: Callable[[int, str], None],
    ) -> None:
        self._engine = engine
        self._relay = relay
        self._outbox = outbox
        self._words = words
        self._missed = missed
        self._reader = reader
        self._number = 0
        self.channel: socket.socket | None = None
        self.former: list[socket.socket] = []
        self.are_gone = False

    def change(self, channel: socket.socket, number: int) -> None:
        """Read what the former gateway still sent, then tell the new one which sessions live here."""
        try:
            self._engine.watch(channel.fileno(), self._receive)
        except OSError:  # for want of memory, or by the user's limit
            channel.close()
            self._missed(number, "")
            return
        while self._receive():
            pass
        self._words[ForwarderWord.CHANNEL] = number  # before anything is counted that the former one knows
        if (former := self.channel) is not None:
            self._engine.unwatch(former.fileno())
            former.shutdown(socket.SHUT_RD)  # what it sends from now on fails, as on a closed channel
            while self._hear(former):
                pass  # it came just before
            self._outbox.leave_gateway()
            self.former.append(former)
            self.tell_former()
        self._outbox.drop_lists()
        channel.setblocking(False)
        self.channel, self._number = channel, number
        self._list(0)

    def tell_former(self) -> None:
        """Tell the former gateways that there is another; one whose channel is full is told later.

        Until then the channel stays open, and that gateway waits. If this process dies before, that gateway
        looks at `ForwarderWord.CHANNEL`.
        """
        waiting = []
        for former in self.former:
            try:
                send_packet(former, Moved().encode())
            except BlockingIOError:
                waiting.append(former)
                continue
            except OSError:
                pass  # it has died
            former.close()
        self.former = waiting

    def _receive(self) -> bool:
        """Receive one packet from the gateway; tell whether there may be more."""
        gateway = self.channel
        if gateway is None:
            return False
        try:
            if self._hear(gateway):
                return True
        except BlockingIOError:
            return False
        self._engine.unwatch(gateway.fileno())
        gateway.close()
        self.channel = None
        self._outbox.leave_gateway()
        return False

    def _hear(self, gateway: socket.socket) -> bool:
        """Act on the next packet of a gateway.

        One that cannot be read is skipped, and another channel is asked for: the list with which that begins
        tells the gateway which sessions have not come here.

        Returns:
            Whether it was a packet, and not the end of the channel.

        Raises:
            BlockingIOError: Nothing is there.
        """
        try:
            return self._act(self._reader.receive(gateway))
        except HandoverError as error:
            self._missed(self._number, str(error))
            return True

    def _act(self, packet: Packet) -> bool:
        """Act on a packet, and close the descriptors in it that nobody took; tell whether it was one.

        Raises:
            HandoverError: It cannot be read.
        """
        if not packet.data:
            return False
        arrived = deque(packet.descriptors)
        try:
            for message in decode(packet.data):
                self._on_message(message, arrived)
        finally:
            for descriptor in arrived:
                os.close(descriptor)
        return True

    def _on_message(self, message: Message, arrived: deque[int]) -> None:
        """Act on one message; an `Adopt` takes its descriptors from the front of ``arrived``."""
        match message:
            case Adopt() if len(arrived) >= DESCRIPTORS_PER_SESSION:
                self._relay.adopt(message, arrived.popleft(), arrived.popleft())
                if self.are_gone:  # it was on its way when the others were ended
                    self._relay.end(message.id, End.DRAIN)
            case Adopt():
                self._relay.give_back(message)
            case Close():
                within = None if message.within < 0 else message.within
                self._relay.end(message.id, _row(message.end), message.code, message.reason, within)
            case List():
                self._list(message.request)
            case _:
                raise HandoverError(f"a forwarder does not take {type(message).__name__}")

    def _list(self, request: int) -> None:
        for live in self._relay.live(request):
            self._outbox.put(live)
        self._outbox.put(Listed(request))


def _row(number: int) -> End:
    """Return a row of the close table.

    Raises:
        HandoverError: There is none with this number; a gateway of another release may know more.
    """
    try:
        return End(number)
    except ValueError:
        raise HandoverError(f"the close table has no row {number}") from None
