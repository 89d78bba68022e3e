"""What the supervisor and its children say to each other: JSON packets on a channel.

They are rare (starts, deaths, stops), so they are readable rather than small: the class's name, and its
fields. Times are monotonic, in seconds.

Rules of this file: a packet that is no control message raises `HandoverError`.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final, TypeAlias, get_args

from bascule.errors import HandoverError
from bascule.handover.descriptors import send_packet

if TYPE_CHECKING:
    import socket

    from bascule.handover.descriptors import Packet, PacketReader

__all__ = [
    "ASK_AGAIN",
    "BeginDrain",
    "ChangeIntervals",
    "ChannelLost",
    "ControlMessage",
    "DrainBegun",
    "Drained",
    "ForwarderChannel",
    "GatewayChannel",
    "HasRetired",
    "Misread",
    "NotReloaded",
    "Prepared",
    "Ready",
    "Retire",
    "Serve",
    "Unread",
    "read_control",
    "receive_control",
    "send_control",
]

ASK_AGAIN: Final = 1.0
"""Seconds to wait before `ChannelLost` asks for a channel again: each failure logs a line."""


# -- to a forwarder ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class GatewayChannel:
    """A new channel to the gateway; its descriptor travels beside it.

    Attributes:
        number: Of the channel, among all there ever were.
    """

    number: int


@dataclass(frozen=True, slots=True)
class ChangeIntervals:
    """Use other times for heartbeats, their answers, idleness and closing handshakes.

    Attributes:
        heartbeat_ms: ``heartbeatIntervalMs``.
        pong: ``limits.pongTimeout``, in seconds.
        idle_ms: ``sessionIdleTimeoutMs``.
        closing: ``limits.closingHandshakeTimeout``, in seconds.
    """

    heartbeat_ms: int
    pong: float
    idle_ms: int
    closing: float


# -- to a gateway -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ForwarderChannel:
    """A new channel to a forwarder; its descriptor travels beside it.

    Attributes:
        slot: Slot of the forwarder.
        pid: Its process.
        hot_path: Which build of the relay it runs.
        restarts: How often the slot was started again.
        number: Of the channel, among all there ever were.
    """

    slot: int
    pid: int
    hot_path: str
    restarts: int
    number: int


@dataclass(frozen=True, slots=True)
class Unread:
    """The channel of a gateway that has died, with what that left unread; its descriptor travels beside it.

    Attributes:
        slot: Slot of the forwarder at the other end, which may have died as well.
    """

    slot: int


@dataclass(frozen=True, slots=True)
class BeginDrain:
    """Refuse new sessions, end the live ones.

    Attributes:
        since: When the drain was asked for.
    """

    since: float


@dataclass(frozen=True, slots=True)
class Retire:
    """Another gateway takes over: accept nothing more, finish what was begun."""


@dataclass(frozen=True, slots=True)
class Serve:
    """Take over.

    Attributes:
        slots: Slots of the forwarders whose lists of sessions to wait for.
        draining: When the drain began that this gateway must continue; ``None`` if none did.
        reloaded: Whether the configuration in force is the one that the last reload, if any, was to load.
    """

    slots: list[int]
    draining: float | None
    reloaded: bool


@dataclass(frozen=True, slots=True)
class NotReloaded:
    """The configuration could not be loaded again."""


# -- to the supervisor ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ready:
    """The child works.

    Attributes:
        hot_path: Which build of the relay a forwarder runs; empty for a gateway.
    """

    hot_path: str = ""


@dataclass(frozen=True, slots=True)
class Prepared:
    """The gateway has all it needs: it could take over, or be given channels."""


@dataclass(frozen=True, slots=True)
class HasRetired:
    """The gateway has nothing left but what ends by itself."""


@dataclass(frozen=True, slots=True)
class ChannelLost:
    """A channel came without its descriptor, or cannot be watched or read: make one more, unless one was.

    Attributes:
        slot: Slot of the forwarder at one end of it.
        number: Of the channel. Both ends may miss it, and each says so.
        problem: What a forwarder, which has no log, could not read on it.
    """

    slot: int
    number: int
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Misread:
    """A forwarder, which has no log, could not read a control message, and goes on.

    Attributes:
        problem: What was wrong with it.
    """

    problem: str


@dataclass(frozen=True, slots=True)
class DrainBegun:
    """A drain has begun: later gateways must continue it.

    Attributes:
        since: When.
    """

    since: float


@dataclass(frozen=True, slots=True)
class Drained:
    """The drain is over: no session is left, or its time is up."""


ControlMessage: TypeAlias = (
    GatewayChannel
    | ChangeIntervals
    | ForwarderChannel
    | Unread
    | BeginDrain
    | Retire
    | Serve
    | NotReloaded
    | Ready
    | Prepared
    | HasRetired
    | ChannelLost
    | Misread
    | DrainBegun
    | Drained
)

_BY_NAME: Final[dict[str, type[ControlMessage]]] = {kind.__name__: kind for kind in get_args(ControlMessage)}


def send_control(channel: socket.socket, message: ControlMessage, *descriptors: int) -> None:
    """Send one control message.

    Raises:
        OSError: The other process is gone, or does not read.
    """
    send_packet(channel, json.dumps([type(message).__name__, asdict(message)]).encode(), descriptors)


def read_control(packet: bytes) -> ControlMessage:
    """Read one control message, the data of a `bascule.handover.descriptors.Packet`.

    Raises:
        HandoverError: It is not a control message.
    """
    try:
        name, values = json.loads(packet)
        return _BY_NAME[name](**values)
    except (ValueError, TypeError, KeyError) as error:
        raise HandoverError("what is no control message") from error


def receive_control(reader: PacketReader, channel: socket.socket) -> tuple[ControlMessage | None, Packet]:
    """Receive one control message and its packet, whose descriptors are the caller's to close.

    Returns:
        The message, ``None`` at the end of the channel; and the packet.

    Raises:
        BlockingIOError: Nothing is there.
        HandoverError: It is not a control message; its descriptors were closed.
    """
    packet = reader.receive(channel)
    if not packet.data:
        return None, packet
    try:
        return read_control(packet.data), packet
    except HandoverError:
        for descriptor in packet.descriptors:
            os.close(descriptor)
        raise
