"""A forwarder's process, for tests that are its supervisor and its gateways."""

from __future__ import annotations

import itertools
import selectors
import signal
import socket
import time
from collections import deque
from typing import TYPE_CHECKING

from bascule.configuration.config import Config
from bascule.handover.control import GatewayChannel, Ready, read_control, send_control
from bascule.handover.counters import CounterFile
from bascule.handover.descriptors import PacketReader, channel_pair, send_packet
from bascule.handover.messages import Adopt, Listed, Live, Message, decode
from bascule.handover.setup import ForwarderSetup
from bascule.supervisor.forwarderchild import ForwarderChild

if TYPE_CHECKING:
    import contextlib

    from bascule.handover.control import ControlMessage

__all__ = ["PATIENCE", "Forwarder", "Session", "hand_over", "setup_of"]

PATIENCE = 10.0
_DEFAULTS = Config()


def setup_of(config: Config, control: socket.socket, counters: CounterFile) -> ForwarderSetup:
    """Return what the supervisor tells the only forwarder."""
    return ForwarderSetup(
        control.fileno(),
        counters.descriptor,
        1,
        slot=0,
        read_buffer_bytes=config.forwarders.read_buffer_bytes,
        heartbeat_ms=config.websocket_proxy.heartbeat_interval_ms,
        pong=config.limits.pong_timeout,
        idle_ms=config.websocket_proxy.session_idle_timeout_ms,
        closing=config.limits.closing_handshake_timeout,
    )


class Forwarder:
    """A running forwarder, and the control channel to it."""

    def __init__(self, config: Config = _DEFAULTS, module: str = "bascule.forwarder") -> None:
        self.child = ForwarderChild(0)
        self.child.module = module
        self._reader = PacketReader()
        self._heard: deque[Message] = deque()
        self.counters = CounterFile.create(1)
        self._numbers = itertools.count(1)
        self.missed = 0
        with self.child.new_control() as theirs:
            self.their_control = theirs.dup()
            setup = setup_of(config, theirs, self.counters)
            self.child.start(setup, time.monotonic())
        assert self.child.control is not None
        self.control = self.child.control
        assert isinstance(self.said(), Ready)

    def connect(self, room: int = 0) -> socket.socket:
        """Be a new gateway; the forwarder can send it so many bytes before it reads."""
        ours, theirs = channel_pair()
        if room:
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, room)
        self.missed = next(self._numbers)
        send_control(self.control, GatewayChannel(self.missed), theirs.fileno())
        theirs.close()
        return ours

    def hear(self, channel: socket.socket) -> Message:
        """Wait for what it says next."""
        if not self._heard:
            self._heard.extend(self.packet(channel))
        return self._heard.popleft()

    def packet(self, channel: socket.socket) -> list[Message]:
        """Wait for the next packet, and return all that it says."""
        self.wait(channel)
        return decode(self._reader.receive(channel).data)

    def listed(self, channel: socket.socket) -> list[int]:
        """Hear the list with which a channel begins; return the sessions."""
        heard = []
        while isinstance(message := self.hear(channel), Live):
            heard.append(message.id)
        assert message == Listed(0)
        return heard

    def forget(self) -> None:
        """Forget what was heard and not asked for: it was said to another gateway."""
        self._heard.clear()

    def said(self) -> ControlMessage:
        """Wait for what it tells the supervisor next."""
        self.wait(self.control)
        return read_control(self._reader.receive(self.control).data)

    def wait(self, channel: socket.socket) -> None:
        """Wait until it has said something."""
        with selectors.DefaultSelector() as selector:
            selector.register(channel, selectors.EVENT_READ)
            assert selector.select(PATIENCE), "the forwarder says nothing"

    def wait_dead(self) -> None:
        """Wait until it has died."""
        with selectors.DefaultSelector() as selector:
            selector.register(self.child.pidfd, selectors.EVENT_READ)
            assert selector.select(PATIENCE), "the forwarder lives"

    def close(self) -> None:
        """End it."""
        self.child.signal(signal.SIGKILL)
        self.child.reap(time.monotonic())
        self.their_control.close()


class Session:
    """What a gateway hands over, and the browser's end of it."""

    def __init__(
        self, stack: contextlib.ExitStack, identifier: int, tag: bytes = b"", answer: bytes = b""
    ) -> None:
        self.browser, ours, theirs, self.upstream = (
            stack.enter_context(end) for _ in range(2) for end in socket.socketpair()
        )
        self.identifier = identifier
        adopt = Adopt(identifier, 0, 0, 0, time.monotonic(), 1000, tag, answer, b"", b"")
        self.message = adopt.encode()
        self.descriptors = (ours.fileno(), theirs.fileno())


def hand_over(gateway: socket.socket, sessions: list[Session], without: int = 0) -> None:
    """Send sessions in one packet, without the descriptors of the last ones."""
    arriving = sessions[: len(sessions) - without]
    descriptors = [descriptor for session in arriving for descriptor in session.descriptors]
    send_packet(gateway, b"".join(session.message for session in sessions), descriptors)
