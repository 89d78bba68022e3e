"""Child processes that only sleep, with control channels of which a test reads the other end.

What the supervisor would do later is done when a test lets time pass.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

from bascule.handover.control import read_control
from bascule.handover.descriptors import PacketReader

if TYPE_CHECKING:
    from collections.abc import Callable

    from bascule.handover.control import ControlMessage
    from bascule.supervisor.child import Child


class Sleepers:
    """Started in the place of real ones."""

    def __init__(self) -> None:
        self.started: list[Child] = []
        self._theirs: dict[Child, socket.socket] = {}
        self._reader = PacketReader()
        self.later: list[Callable[[], None]] = []

    def do_later(self, seconds: float, action: Callable[[], None]) -> None:
        """Keep an action for `pass_time`, however many seconds it is to wait."""
        self.later.append(action)

    def pass_time(self) -> None:
        """Do what is due so far."""
        due, self.later = self.later, []
        for action in due:
            action()

    def start(self, child: Child) -> None:
        if (before := self._theirs.get(child)) is not None:
            before.close()
        self._theirs[child] = child.new_control()
        child.process = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
        child.pidfd = os.pidfd_open(child.process.pid)
        self.started.append(child)

    def hang_up(self, child: Child) -> None:
        child.hang_up()

    def messages(self, child: Child) -> list[ControlMessage]:
        """Return what a child was told since the last time."""
        said: list[ControlMessage] = []
        with contextlib.suppress(BlockingIOError):
            while data := self._receive(child):
                said.append(read_control(data))
        return said

    def told(self, child: Child) -> list[str]:
        """Return what a child was told since the last time, by class; ``"hung up"`` is its channel's end."""
        said: list[str] = []
        with contextlib.suppress(BlockingIOError):
            while data := self._receive(child):
                said.append(type(read_control(data)).__name__)
            said.append("hung up")
        return said

    def channel(self, child: Child) -> tuple[ControlMessage, socket.socket]:
        """Return what a child was told next, and the channel that came with it: the caller closes that."""
        packet = self._reader.receive(self._theirs[child])
        (descriptor,) = packet.descriptors
        return read_control(packet.data), socket.socket(fileno=descriptor)

    def _receive(self, child: Child) -> bytes:
        packet = self._reader.receive(self._theirs[child])
        for descriptor in packet.descriptors:
            os.close(descriptor)
        return packet.data

    def goes_deaf(self, child: Child) -> None:
        """Close its end of the control channel, as a process does just before it dies."""
        self._theirs[child].close()

    def dies(self, child: Child) -> None:
        """Let it die by itself."""
        assert child.process is not None
        child.process.kill()
        child.reap(0.0)

    def was_killed(self, child: Child) -> bool:
        """Tell whether it was killed, and note its death."""
        assert child.process is not None
        return child.process.wait() == -signal.SIGKILL

    def was_left(self, child: Child) -> bool:
        """Tell whether it lived on until now: who was killed before cannot end in another way."""
        assert child.process is not None
        child.signal(signal.SIGTERM)
        return child.process.wait() == -signal.SIGTERM

    def end(self) -> None:
        for child in self.started:
            if child.process is not None:
                self.dies(child)
        for end in self._theirs.values():
            end.close()
