"""What a forwarder has to tell the gateway.

All messages of one turn travel together. An outcome is sent once: the next gateway reads what one that dies
has left unread (`bascule.supervisor.channels`), and a gateway leaves a packet unread until it has acted on it
(`bascule.gateway.sessions.link`). A list is only for the gateway that it was made for.

An outcome is counted once: by this process, or by the gateway if it finds this process dead and was not told.
So it is counted only when it can be told, or when there is no gateway that knows of the session.

Rules of this file: it sends on the channel that it is given; whose channel that is, the forwarder knows.
"""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import TYPE_CHECKING

from bascule.handover.counters import KINDS, ForwarderWord, durations_of, ended_word
from bascule.handover.descriptors import has_room, send_packet
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
        while self._waiting and has_room(gateway):
            packet, messages = join(self._waiting)
            outcomes = sum(map(is_outcome, islice(self._waiting, messages)))
            # Counted before they are told, so that whoever was told finds them counted.
            self._count_first(outcomes)
            try:
                send_packet(gateway, packet)
            except OSError:
                # Nobody has the channel, and the supervisor will send another one; or memory is short.
                return
            for _ in range(messages):
                self._waiting.popleft()
            self._counted -= outcomes

    def _count_first(self, outcomes: int) -> None:
        """Count the first outcomes that wait, so many, as far as they are not counted yet."""
        while self._counted < outcomes:
            self._count(self._uncounted.popleft())
            self._counted += 1

    def leave_gateway(self) -> None:
        """Make ready for another gateway: nothing more is sent to this one.

        What waits is counted: the next gateway does not know these sessions, and will not count them as lost.
        """
        self._count_first(self._counted + len(self._uncounted))

    def drop_lists(self) -> None:
        """Drop what only the gateway before was to be told: half of a list would pass for the whole."""
        self._waiting = deque(message for message in self._waiting if is_outcome(message))


def count_outcome(words: memoryview, ended: Ended) -> None:
    """Count an outcome in a forwarder's block of the counters, and the session as open no more."""
    row = CLOSE_TABLE[End(ended.end)]
    DURATIONS.count(durations_of(words), ended.duration)
    words[ended_word(KINDS[ended.kind], row.ended_by, row.cause)] += 1
    words[ForwarderWord.OPEN] -= 1
