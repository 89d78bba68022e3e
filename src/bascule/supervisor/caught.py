"""The signals that the supervisor catches, in a form that its selector can wait for."""

from __future__ import annotations

import signal
import socket

from bascule.handover import signals
from bascule.supervisor import early

__all__ = ["CaughtSignals"]


class CaughtSignals:
    """Installs the handlers; from then on no signal of `bascule.handover.signals` ends the process by itself.

    `take` also returns, first, signals that came in earlier and ended nothing (`bascule.supervisor.early`).

    Attributes:
        wake: Readable when a signal came in.
    """

    def __init__(self) -> None:
        self._caught: list[int] = []
        self.wake, self._wake_writer = socket.socketpair()
        self.wake.setblocking(False)
        self._wake_writer.setblocking(False)
        signal.set_wakeup_fd(self._wake_writer.fileno(), warn_on_full_buffer=False)
        for number in signals.HANDLED:
            if early.heeds(number):
                # The wake-up descriptor also carries the number, but takes no more when it is full.
                signal.signal(number, lambda number, _: self._caught.append(number))
        if earlier := early.take():
            self._caught[:0] = earlier
            self._wake_writer.send(b"\0")
        # We may have inherited that it is ignored, and then the kernel keeps no exit status of a child.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)

    def close(self) -> None:
        """Stop waking the selector; the handlers stay, so signals still do not end the process."""
        signal.set_wakeup_fd(-1)
        self.wake.close()
        self._wake_writer.close()

    def take(self) -> list[int]:
        """Return the signals that came in since the last call, in order."""
        self.wake.recv(4096)
        caught, self._caught = self._caught, []
        return caught
