"""What a forwarder has to tell the gateway, and what the gateway may not have read yet.

All messages of one turn travel together. An outcome is told at least once: when a gateway dies with packets
unread, the next one is told what was in them; and a gateway leaves a packet unread until it has acted on it
(`bascule.gateway.dispatch`). A list is only for the gateway that it was made for.

An outcome is counted once: by this process, or by the gateway if it finds this process dead and was not told.
So it is counted only when it can be told, or when there is no gateway that knows of the session.

Rules of this file: it sends on the channel that it is given; whose channel that is, the forwarder knows.
"""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import TYPE_CHECKING

from bascule.handover.counters import KINDS, ForwarderWord, durations_of, ended_word
from bascule.handover.descriptors import has_room, most_unread, send_packet
from bascule.handover.messages import Ended, is_outcome, join
from bascule.protocol.closing import CLOSE_TABLE, End
from bascule.telemetry.durations import DURATIONS

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from bascule.handover.messages import Listed, Live

__all__ = ["Outbox", "count_outcome"]


class Outbox:
    """Messages to the gateway, in order.

    Args:
        count: Counts an outcome: `count_outcome`, in the forwarder's block of the counters.
    """

    def __init__(self, count: Callable[[Ended], None]) -> None:
        self._count = count
        self._waiting: deque[bytes] = deque()
        self._counted = 0
        """How many of the outcomes that wait are counted: the first ones. The others are `_uncounted`."""
        self._uncounted: deque[Ended] = deque()
        self._unread: deque[bytes] = deque()
        self._unread_bytes = 0
        self._was_reset = False

    def __bool__(self) -> bool:
        """Tell whether anything waits to be sent."""
        return bool(self._waiting)

    def put(self, message: Ended | Live | Listed) -> None:
        """Put in a message, to be sent at the end of this turn with the turn's others."""
        if isinstance(message, Ended):
            self._uncounted.append(message)
        self._waiting.append(message.encode())

    def send(self, gateway: socket.socket | None) -> None:
        """Send what the channel takes; the rest waits.

        Args:
            gateway: The channel; ``None`` while there is no gateway, and then everything waits.
        """
        if gateway is None:
            self._count_first(self._counted + len(self._uncounted))
            return
        self._forget_read(gateway)
        while self._waiting and has_room(gateway):
            packet, messages = join(self._waiting)
            outcomes = [message for message in islice(self._waiting, messages) if is_outcome(message)]
            # Counted before they are told, so that whoever was told finds them counted.
            self._count_first(len(outcomes))
            try:
                send_packet(gateway, packet)
            except OSError as error:
                # The gateway is gone, and the supervisor will send another channel; or memory is short.
                self._was_reset |= isinstance(error, ConnectionResetError)
                return
            for _ in range(messages):
                self._waiting.popleft()
            self._counted -= len(outcomes)
            self._unread.extend(outcomes)
            self._unread_bytes += sum(map(len, outcomes))

    def _count_first(self, outcomes: int) -> None:
        """Count the first outcomes that wait, so many, as far as they are not counted yet."""
        while self._counted < outcomes:
            self._count(self._uncounted.popleft())
            self._counted += 1

    def note_reset(self) -> None:
        """Note that the gateway has ended with packets of ours unread."""
        self._was_reset = True

    def leave_gateway(self) -> None:
        """Make ready for another gateway: nothing more is sent to this one.

        What waits is counted: the next gateway does not know these sessions, and will not count them as lost.

        One that lives on reads its channel to the end. What one that died may have left unread waits for the
        next; it may have read some of it, so a few outcomes are told twice.
        """
        self._count_first(self._counted + len(self._uncounted))
        if self._was_reset:
            self._waiting.extendleft(reversed(self._unread))
            self._counted += len(self._unread)
        self._unread.clear()
        self._unread_bytes = 0
        self._was_reset = False

    def drop_lists(self) -> None:
        """Drop what only the gateway before was to be told: half of a list would pass for the whole."""
        self._waiting = deque(message for message in self._waiting if is_outcome(message))

    def _forget_read(self, gateway: socket.socket) -> None:
        """Forget the outcomes that the gateway must have read: more bytes than can still be unread.

        Otherwise, behind a gateway that is always a packet late they would grow, and all be sent twice.
        """
        if self._unread:
            most = most_unread(gateway)
            while self._unread_bytes > most:
                self._unread_bytes -= len(self._unread.popleft())


def count_outcome(words: memoryview, ended: Ended) -> None:
    """Count an outcome in a forwarder's block of the counters, and the session as open no more."""
    row = CLOSE_TABLE[End(ended.end)]
    DURATIONS.count(durations_of(words), ended.duration)
    words[ended_word(KINDS[ended.kind], row.ended_by, row.cause)] += 1
    words[ForwarderWord.OPEN] -= 1
