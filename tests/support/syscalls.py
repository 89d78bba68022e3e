"""A kernel of our own making: connections whose every read and write can be short, late or failed.

It stands in for ``os``, ``select`` and ``socket`` as the pure hot path and the relay use them, so that a
test decides at each step what the kernel does, and the kernel says when it is used wrongly: a descriptor
used after it was closed, closed twice, or registered twice.
"""

import errno
import os
import select
import socket
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, Final, NoReturn

import pytest

__all__ = ["Kernel", "Wire"]

_ORIGINS: Final = {
    "os": os, "posix": os, "select": select, "socket": socket, "_socket": socket,
}  # fmt: skip
"""Modules that are stood in for, by the name that what they define bears."""

HANGUP: Final = select.EPOLLHUP | select.EPOLLERR


class Wire:
    """One connection, as seen by the forwarder and by the peer that the test plays.

    Attributes:
        incoming: What the peer has sent and the forwarder has not read.
        outgoing: What the forwarder has written, all of it.
        room: Bytes that the forwarder may still write.
        peer_ended: The peer ended its direction.
        failure: Errno with which the connection failed, told once; 0 for none.
        dead: It has failed: nothing can be written, reading ends.
        shut: The forwarder ended its direction.
        closed: The forwarder closed its descriptor.
    """

    def __init__(self) -> None:
        self.incoming = bytearray()
        self.outgoing = bytearray()
        self.room = 1 << 20
        self.peer_ended = False
        self.failure = 0
        self.dead = False
        self.shut = False
        self.closed = False

    def fail(self, error: int) -> None:
        """Fail it, as a reset or a time-out does."""
        self.failure = error
        self.dead = True
        self.incoming.clear()


class Kernel:
    """Holds the connections.

    Attributes:
        most: Most bytes that one read or write moves, for short ones.
        hiccup: Error with which the next reads and writes fail first: EAGAIN or EINTR has no other effect.
        order: Puts what is reported together into an order; the kernel promises none.
    """

    def __init__(self) -> None:
        self.wires: dict[int, Wire] = {}
        self.most = 1 << 20
        self.hiccup = 0
        self.order: Callable[[list[tuple[int, int]]], object] = list
        self._next = 1000

    def connect(self) -> tuple[int, Wire]:
        """Make a connection; returns the forwarder's descriptor."""
        self._next += 1
        self.wires[self._next] = Wire()
        return self._next, self.wires[self._next]

    def install(self, monkeypatch: pytest.MonkeyPatch, *modules: Any) -> None:
        """Let modules of the product call this kernel instead of the real one.

        What a module imported by name from there is replaced too; an `AttributeError` says what this
        kernel does not have.
        """
        stand_ins: dict[ModuleType, Any] = {os: _Os(self), select: _Select(self), socket: _Socket(self)}
        for module in modules:
            replaced = 0
            for name, value in list(vars(module).items()):
                if isinstance(value, ModuleType) and value in stand_ins:
                    stand_in = stand_ins[value]
                elif callable(value) and (origin := _ORIGINS.get(getattr(value, "__module__", ""))):
                    stand_in = getattr(stand_ins[origin], value.__name__)
                else:
                    continue
                monkeypatch.setattr(module, name, stand_in)
                replaced += 1
            assert replaced, f"{module.__name__} calls nothing of the kernel, or another kernel already"

    def wire(self, descriptor: int) -> Wire:
        """Return a connection that is open."""
        wire = self.wires[descriptor]
        assert not wire.closed, f"descriptor {descriptor} is used after it was closed"
        return wire

    def _hiccup(self) -> None:
        if self.hiccup:
            number, self.hiccup = self.hiccup, 0
            raise OSError(number, os.strerror(number))

    # -- what is called -----------------------------------------------------------------------

    def readv(self, descriptor: int, buffers: Sequence[memoryview]) -> int:
        """Read into the first buffer."""
        wire = self.wire(descriptor)
        self._hiccup()
        if wire.failure:
            number, wire.failure = wire.failure, 0
            raise OSError(number, os.strerror(number))
        if wire.dead:
            return 0
        size = min(len(wire.incoming), len(buffers[0]), self.most)
        if not size:
            if wire.peer_ended:
                return 0
            raise BlockingIOError(errno.EAGAIN, "nothing there")
        buffers[0][:size] = wire.incoming[:size]
        del wire.incoming[:size]
        return size

    def write(self, descriptor: int, data: memoryview) -> int:
        """Write what there is room for."""
        wire = self.wire(descriptor)
        self._hiccup()
        if wire.failure:
            number, wire.failure = wire.failure, 0
            raise OSError(number, os.strerror(number))
        if wire.dead or wire.shut:
            raise BrokenPipeError(errno.EPIPE, "gone")
        size = min(len(data), wire.room, self.most)
        if not size:
            raise BlockingIOError(errno.EAGAIN, "full")
        wire.outgoing += data[:size]
        wire.room -= size
        return size

    def close(self, descriptor: int) -> None:
        """Close a connection."""
        self.wire(descriptor).closed = True

    def shutdown(self, descriptor: int) -> None:
        """End the forwarder's direction."""
        self.wire(descriptor).shut = True

    def ready(self, descriptor: int, interest: int) -> int:
        """Return the events of a connection that are reported for an interest."""
        wire = self.wire(descriptor)
        found = 0
        if wire.incoming or wire.peer_ended or wire.dead:
            found |= select.EPOLLIN
        if wire.room or wire.dead:
            found |= select.EPOLLOUT
        if wire.peer_ended or wire.dead:
            found |= select.EPOLLRDHUP
        found &= interest
        if wire.dead:
            found |= HANGUP if wire.failure else select.EPOLLHUP
        return found


class _Epoll:
    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._interest: dict[int, int] = {}

    def register(self, descriptor: int, interest: int) -> None:
        assert descriptor not in self._interest, "registered twice"
        self._kernel.wire(descriptor)
        self._interest[descriptor] = interest

    def modify(self, descriptor: int, interest: int) -> None:
        assert descriptor in self._interest, "modified without being registered"
        self._interest[descriptor] = interest

    def unregister(self, descriptor: int) -> None:
        self._kernel.wire(descriptor)  # unregister comes before close
        del self._interest[descriptor]

    def poll(self, timeout: float, most: int) -> list[tuple[int, int]]:
        ready = [
            (fd, self._kernel.ready(fd, interest)) for fd, interest in self._interest.items() if interest
        ]
        found = [event for event in ready if event[1]]
        self._kernel.order(found)
        del found[most:]
        for descriptor, _ in found:
            if self._interest[descriptor] & select.EPOLLONESHOT:
                self._interest[descriptor] = 0  # not even a failure is reported again
        return found

    def close(self) -> None:
        """There is nothing to release."""


class _Os:
    def __init__(self, kernel: Kernel) -> None:
        self.readv = kernel.readv
        self.write = kernel.write
        self.close = kernel.close

    O_CLOEXEC = O_NONBLOCK = 0

    def pipe2(self, _flags: int) -> NoReturn:
        """There are no pipes, so nothing is spliced."""
        raise OSError(errno.ENFILE, "no pipes here")


class _Poll:
    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._interest: dict[int, int] = {}

    def register(self, descriptor: int, interest: int) -> None:
        self._interest[descriptor] = interest

    def poll(self, milliseconds: int) -> list[tuple[int, int]]:
        assert milliseconds == 0, "a forwarder waits in one place only"
        found = [(fd, self._kernel.ready(fd, interest)) for fd, interest in self._interest.items()]
        return [event for event in found if event[1]]


class _Select:
    EPOLLIN = select.EPOLLIN
    EPOLLOUT = select.EPOLLOUT
    EPOLLONESHOT = select.EPOLLONESHOT
    POLLIN = select.POLLIN

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel

    def epoll(self) -> _Epoll:
        return _Epoll(self._kernel)

    def poll(self) -> _Poll:
        return _Poll(self._kernel)


class _Socket:
    """As much of the module as the relay, and `bascule.forwarder.connection`, use."""

    AF_INET = SOCK_STREAM = SOL_SOCKET = SO_ERROR = 0
    SHUT_WR = SHUT_RDWR = 1

    def __init__(self, kernel: Kernel) -> None:
        class Descriptor:
            def __init__(self, *_: int, fileno: int) -> None:
                self._fileno = fileno

            def shutdown(self, how: int) -> None:
                if kernel.wire(self._fileno).dead:
                    raise OSError(errno.ENOTCONN, "gone")
                kernel.shutdown(self._fileno)

            def getsockopt(self, _level: int, _option: int) -> int:
                failure, wire.failure = (wire := kernel.wire(self._fileno)).failure, 0
                return failure

            def detach(self) -> None:
                """Nothing is owned."""

        self.SocketType = Descriptor
