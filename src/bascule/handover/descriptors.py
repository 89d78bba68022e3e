"""Packets and file descriptors between processes (unix(7), SCM_RIGHTS).

Traps that this file avoids:

* If the receive buffer is too small for the descriptors, the kernel silently closes the rest
  and sets ``MSG_CTRUNC``; it is checked.
* A descriptor received without close-on-exec would leak into children; the flag is always set.
* One message carries at most 253 descriptors.
* When a process ends with packets unread, the other side gets a reset before the packets that
  the process had sent; we read on.
"""

from __future__ import annotations

import array
import fcntl
import select
import socket
import sys
import termios
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from bascule.errors import HandoverError
from bascule.handover.messages import MAX_JOINED_MESSAGES, MAX_PACKET_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = [
    "DESCRIPTORS_PER_SESSION",
    "MAX_DESCRIPTORS",
    "SPARE_DESCRIPTORS",
    "Packet",
    "PacketReader",
    "arrived",
    "channel_pair",
    "has_room",
    "is_read_out",
    "queued",
    "send_packet",
    "sessions_that_fit",
]

_Received = TypeVar("_Received")

DESCRIPTORS_PER_SESSION: Final = 2
"""Of a forwarder: a browser's connection and an upstream's."""

MAX_DESCRIPTORS: Final = DESCRIPTORS_PER_SESSION * MAX_JOINED_MESSAGES
"""Most descriptors one of our packets carries, of the 253 that the kernel lets pass."""

SPARE_DESCRIPTORS: Final = 64
"""Descriptors of a forwarder that are no sessions': channels, epoll, the interpreter's files. Each of
our processes has the same limit, so the gateway knows how many sessions fit."""

_CHANNEL_BUFFER_BYTES: Final = 1 << 20
"""Send buffer asked for on each end, so that a burst of hand-overs does not wait."""

_ANCILLARY_BYTES: Final = socket.CMSG_SPACE(MAX_DESCRIPTORS * 4)


def sessions_that_fit(limit: int) -> int:
    """Return how many sessions a forwarder can carry with so many open files."""
    return max(0, (limit - SPARE_DESCRIPTORS) // DESCRIPTORS_PER_SESSION)


def channel_pair() -> tuple[socket.socket, socket.socket]:
    """Return the two ends of a channel: packets, in order, non-blocking."""
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
    for end in (left, right):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _CHANNEL_BUFFER_BYTES)
    return left, right


def send_packet(channel: socket.socket, packet: bytes, descriptors: Sequence[int] = ()) -> None:
    """Send one packet with its descriptors.

    Raises:
        BlockingIOError: The channel is full; nothing was sent.
        OSError: The other process is gone.
    """
    if not descriptors:
        channel.send(packet)
        return
    rights = array.array("i", descriptors)
    channel.sendmsg((packet,), ((socket.SOL_SOCKET, socket.SCM_RIGHTS, rights),))


def queued(descriptor: int) -> int:
    """Return the bytes sent on a connection that the kernel still keeps (SIOCOUTQ; see tcp(7)).

    On TCP these are the bytes not yet acknowledged; on a Unix socket the packets not yet read, counted with
    the memory that they cost the kernel.

    Raises:
        OSError: The descriptor is no connection.
    """
    return int.from_bytes(fcntl.ioctl(descriptor, termios.TIOCOUTQ, bytes(4)), sys.byteorder)


def arrived(descriptor: int) -> int:
    """Return the bytes that have come on a connection and wait in the kernel (SIOCINQ; see tcp(7)).

    Raises:
        OSError: The descriptor is no connection.
    """
    return int.from_bytes(fcntl.ioctl(descriptor, termios.FIONREAD, bytes(4)), sys.byteorder)


def has_room(channel: socket.socket) -> bool:
    """Tell whether a channel takes a packet now, of whatever size a packet may have.

    The kernel takes one as long as what it keeps has not reached the send buffer's size.
    """
    return queued(channel.fileno()) < channel.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)


def is_read_out(channel: socket.socket) -> bool:
    """Tell whether a channel's other end is closed and nothing that it sent is left; takes nothing from it.

    Not by a look with ``MSG_PEEK``: that would take the reset, of which `PacketReader` tells whoever reads.
    """
    poll = select.poll()
    poll.register(channel, 0)  # an end and a failure are reported whatever is asked for
    has_ended = any(found & select.POLLHUP for _, found in poll.poll(0))
    return has_ended and not arrived(channel.fileno())


class Packet(NamedTuple):
    """What one call found on a channel.

    Attributes:
        data: The packet; empty at the end of the channel, when the other process is gone.
        descriptors: Those that came with it, which are the caller's to close.
        complete: Whether all of them came. When this process may open no more, the kernel delivers the
            first ones and closes the others.
        after_reset: Whether the other process has ended with packets of ours unread. Only the first packet
            received after that says so.
    """

    data: bytes
    descriptors: tuple[int, ...]
    complete: bool = True
    after_reset: bool = False


class PacketReader:
    """Receives packets into one buffer that it reuses; one for a process is enough."""

    def __init__(self) -> None:
        self._buffer = bytearray(MAX_PACKET_BYTES)
        self._view = memoryview(self._buffer)

    def receive(self, channel: socket.socket) -> Packet:
        """Receive one packet and its descriptors; a packet without data is the end of the channel.

        Raises:
            BlockingIOError: Nothing is there.
            HandoverError: The packet was truncated; its descriptors were closed.
        """
        (size, ancillary, flags, _), after_reset = _past_reset(
            lambda: channel.recvmsg_into((self._buffer,), _ANCILLARY_BYTES, socket.MSG_CMSG_CLOEXEC)
        )
        descriptors = array.array("i")
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                descriptors.frombytes(data[: len(data) - len(data) % descriptors.itemsize])
        if flags & socket.MSG_TRUNC:
            for descriptor in descriptors:
                socket.close(descriptor)
            raise HandoverError(f"truncated packet of {size} bytes")
        complete = not flags & socket.MSG_CTRUNC
        return Packet(bytes(self._view[:size]), tuple(descriptors), complete, after_reset)

    def look(self, channel: socket.socket) -> Packet:
        """Return the next packet, without descriptors, and leave it in the channel, for `take`.

        If this process ends before it has taken the packet, whoever else has the channel finds it there.

        Raises:
            BlockingIOError: Nothing is there.
            HandoverError: The packet is longer than any of ours; it was taken.
        """
        flags = socket.MSG_PEEK | socket.MSG_TRUNC
        size, after_reset = _past_reset(lambda: channel.recv_into(self._buffer, 0, flags))
        if size > len(self._buffer):
            self.take(channel)
            raise HandoverError(f"packet of {size} bytes")
        return Packet(bytes(self._view[:size]), (), after_reset=after_reset)

    def take(self, channel: socket.socket) -> None:
        """Take the packet that `look` has returned; descriptors that came with it are closed."""
        _past_reset(lambda: channel.recv(1))  # the kernel drops the rest of a packet


def _past_reset(receive: Callable[[], _Received]) -> tuple[_Received, bool]:
    """Receive; tell whether the channel said first that the other process has ended with packets unread."""
    try:
        return receive(), False
    except ConnectionResetError:
        return receive(), True
