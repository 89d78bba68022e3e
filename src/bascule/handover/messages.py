"""Every message between the gateway and a forwarder: encode and decode, no I/O.

The channel is a Unix ``SOCK_SEQPACKET`` pair, so a packet cannot be torn. A packet carries one
message or several, one behind the other. So all that happened in one turn of a loop costs the
other process only one wake-up; a wake-up is a third of the cost of an opening handshake. Layout,
native byte order (both ends are the same build on one machine)::

    Adopt   A  id:Q kind:B rsv_first:B rsv_continuation:B opened_at:d frame_limit:Q
               tag:H+bytes  answer:I+bytes  inbound:I+bytes  outbound:I+bytes
                                                                and two descriptors
    Close   C  id:Q end:B code:H within:d reason:B+bytes
    List    L  request:I
    Ended   E  id:Q kind:B end:B code:H duration:d idle:d payload:2Q frames:2Q
               reason:B+bytes tag:H+bytes
    Live    V  request:I id:Q kind:B opened_at:d idle:d round_trip:d payload:2Q frames:2Q tag:H+bytes
    Listed  D  request:I
    Moved   M

Rules of this file: a truncated or unknown message raises `HandoverError`; nothing
else does.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, NamedTuple

from bascule.errors import HandoverError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "MAX_ANSWER_BYTES",
    "MAX_EARLY_BYTES",
    "MAX_JOINED_BYTES",
    "MAX_JOINED_MESSAGES",
    "MAX_PACKET_BYTES",
    "Adopt",
    "Close",
    "Ended",
    "List",
    "Listed",
    "Live",
    "Message",
    "Moved",
    "decode",
    "is_outcome",
    "join",
]

MAX_PACKET_BYTES: Final = 200 * 1024
"""Receive size of the channel; a 101 and the early bytes of both connections fit."""

MAX_JOINED_MESSAGES: Final = 64
"""Most messages of one packet, so that its reader soon gets back to other work."""

MAX_JOINED_BYTES: Final = 32 * 1024
"""Longest packet of several messages, so that a send buffer of any size takes it or is full."""

MAX_EARLY_BYTES: Final = 64 * 1024
"""Most bytes that a gateway has read from either connection behind its handshake when it hands over:
the upper bound of ``limits.earlyBytes``, and four times what it reads at once from an upstream."""

MAX_ANSWER_BYTES: Final = 64 * 1024
"""Longest 101 that is handed over; twice what any server we know sends as a head."""

_ADOPT: Final = struct.Struct("=cQBBBdQHIII")
_CLOSE: Final = struct.Struct("=cQBHdB")
_LIST: Final = struct.Struct("=cI")
_ENDED: Final = struct.Struct("=cQBBHddQQQQBH")
_LIVE: Final = struct.Struct("=cIQBdddQQQQH")


class Adopt(NamedTuple):
    """Take over a session; the two descriptors travel beside it, browser first.

    Attributes:
        id: Unique among the sessions of this pod, across restarts of the gateway.
        kind: Index into ``tuple(Kind)``.
        rsv_first: Reserved bits allowed on the first frame of a message.
        rsv_continuation: Reserved bits allowed on continuation frames.
        opened_at: Monotonic time of admission, in seconds.
        frame_limit: Largest payload of one frame, in bytes.
        tag: What the gateway wants back with every `Live`; opaque to the forwarder.
        answer: The 101 for the browser, to be written before anything else. The forwarder writes
            it, so that a browser which has seen it has a session that outlives the gateway.
        inbound: Bytes already read from the browser behind its handshake.
        outbound: Bytes already read from the upstream behind its handshake.
    """

    id: int
    kind: int
    rsv_first: int
    rsv_continuation: int
    opened_at: float
    frame_limit: int
    tag: bytes
    answer: bytes
    inbound: bytes
    outbound: bytes

    def encode(self) -> bytes:
        """Return the packet."""
        head = _ADOPT.pack(
            b"A", self.id, self.kind, self.rsv_first, self.rsv_continuation, self.opened_at,
            self.frame_limit, len(self.tag), len(self.answer), len(self.inbound), len(self.outbound),
        )  # fmt: skip
        return b"".join((head, self.tag, self.answer, self.inbound, self.outbound))


class Close(NamedTuple):
    """End a session by one row of the close table.

    Attributes:
        id: The session.
        end: The row.
        code: Replaces the row's close code towards the browser, unless 0.
        within: Seconds until the session must be over; negative for the usual times of a closing handshake.
        reason: Replaces the row's reason, unless empty.
    """

    id: int
    end: int
    code: int
    within: float
    reason: bytes

    def encode(self) -> bytes:
        """Return the packet."""
        return _CLOSE.pack(b"C", self.id, self.end, self.code, self.within, len(self.reason)) + self.reason


class List(NamedTuple):
    """Ask for one `Live` for each session, then `Listed`."""

    request: int

    def encode(self) -> bytes:
        """Return the packet."""
        return _LIST.pack(b"L", self.request)


class Ended(NamedTuple):
    """A session is over and both its connections are closed.

    Code and reason are those of the Close that ended it: a peer's, or the one that we sent the browser.
    Kind, tag and idle time are for a gateway that does not know the session, since it ended while there was
    no gateway.

    Attributes:
        duration: Seconds since admission.
        idle: Seconds since data last moved in either direction.
    """

    id: int
    kind: int
    end: int
    code: int
    duration: float
    idle: float
    payload_inbound: int
    payload_outbound: int
    frames_inbound: int
    frames_outbound: int
    reason: bytes
    tag: bytes

    def encode(self) -> bytes:
        """Return the packet."""
        head = _ENDED.pack(
            b"E", self.id, self.kind, self.end, self.code, self.duration, self.idle,
            self.payload_inbound, self.payload_outbound, self.frames_inbound, self.frames_outbound,
            len(self.reason), len(self.tag),
        )  # fmt: skip
        return head + self.reason + self.tag


class Live(NamedTuple):
    """One live session, in answer to `List` or to a new channel (request 0).

    Attributes:
        opened_at: Monotonic time of admission, in seconds.
        idle: Seconds since data last moved in either direction.
        round_trip: Seconds that the browser's latest answer to a ping took; below zero if there was none.
    """

    request: int
    id: int
    kind: int
    opened_at: float
    idle: float
    round_trip: float
    payload_inbound: int
    payload_outbound: int
    frames_inbound: int
    frames_outbound: int
    tag: bytes

    def encode(self) -> bytes:
        """Return the packet."""
        return (
            _LIVE.pack(
                b"V", self.request, self.id, self.kind, self.opened_at, self.idle, self.round_trip,
                self.payload_inbound, self.payload_outbound, self.frames_inbound, self.frames_outbound,
                len(self.tag),
            )
            + self.tag
        )  # fmt: skip


class Listed(NamedTuple):
    """The end of a list."""

    request: int

    def encode(self) -> bytes:
        """Return the packet."""
        return _LIST.pack(b"D", self.request)


class Moved(NamedTuple):
    """The last message on a channel: another gateway has a channel now, and hears of the sessions."""

    def encode(self) -> bytes:
        """Return the packet."""
        return b"M"


Message = Adopt | Close | List | Ended | Live | Listed | Moved


def is_outcome(message: bytes) -> bool:
    """Tell whether an encoded message is an `Ended`."""
    return message[:1] == b"E"


def join(messages: Iterable[bytes]) -> tuple[bytes, int]:
    """Return a packet of the first messages, encoded ones, and how many of them it carries.

    A message that is too long for a packet of several has one of its own.
    """
    joined: list[bytes] = []
    size = 0
    for message in messages:
        size += len(message)
        if joined and (size > MAX_JOINED_BYTES or len(joined) == MAX_JOINED_MESSAGES):
            break
        joined.append(message)
    return b"".join(joined), len(joined)


def decode(packet: bytes) -> list[Message]:
    """Read one packet: its messages, in order, at least one.

    Raises:
        HandoverError: It is empty or truncated, or has an unknown message.
    """
    messages: list[Message] = []
    position = 0
    try:
        while position < len(packet) or not messages:
            message, position = _decode_at(packet, position)
            messages.append(message)
    except struct.error as error:
        raise HandoverError(f"truncated packet of {len(packet)} bytes") from error
    return messages


def _decode_at(packet: bytes, start: int) -> tuple[Message, int]:
    """Read the message that starts there; return it and where it ends."""
    match packet[start : start + 1]:
        case b"A":
            _, *adopt, tag, answer, inbound, outbound = _ADOPT.unpack_from(packet, start)
            parts, end = _tail(packet, start + _ADOPT.size, tag, answer, inbound, outbound)
            return Adopt(*adopt, *parts), end
        case b"C":
            _, *close, reason = _CLOSE.unpack_from(packet, start)
            parts, end = _tail(packet, start + _CLOSE.size, reason)
            return Close(*close, *parts), end
        case b"L":
            return List(_LIST.unpack_from(packet, start)[1]), start + _LIST.size
        case b"E":
            _, *ended, reason, tag = _ENDED.unpack_from(packet, start)
            parts, end = _tail(packet, start + _ENDED.size, reason, tag)
            return Ended(*ended, *parts), end
        case b"V":
            _, *live, tag = _LIVE.unpack_from(packet, start)
            parts, end = _tail(packet, start + _LIVE.size, tag)
            return Live(*live, *parts), end
        case b"D":
            return Listed(_LIST.unpack_from(packet, start)[1]), start + _LIST.size
        case b"M":
            return Moved(), start + 1
        case other:
            raise HandoverError(f"unknown message type {other!r}")


def _tail(packet: bytes, start: int, *sizes: int) -> tuple[list[bytes], int]:
    """Cut the variable parts of a message; return them and where the last one ends."""
    parts = []
    for size in sizes:
        parts.append(packet[start : start + size])
        start += size
    if start > len(packet):
        raise HandoverError(f"packet of {len(packet)} bytes, {start} announced")
    return parts, start
