"""What all child processes have in common: a pidfd, a control channel, and restarts with back-off."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Final, Protocol

from bascule.errors import ConfigError
from bascule.handover.descriptors import channel_pair
from bascule.handover.setup import OTHER_VERSION

if TYPE_CHECKING:
    import socket

    from bascule.handover.counters import CounterFile, ForwarderWord, GatewayWord
    from bascule.handover.setup import ChildSetup

__all__ = [
    "BACK_OFF",
    "STABLE_AFTER",
    "Child",
    "Process",
    "check_kernel",
    "in_words",
]

STABLE_AFTER: Final = 30.0
"""Seconds after which a child is stable: its death then counts as the first in a row."""

BACK_OFF: Final = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
"""Seconds before the first, second, … restart in a row: at once, unless the child keeps dying."""


def check_kernel() -> None:
    """Check that this system has pidfds, by which we watch children.

    Raises:
        ConfigError: It has none.
    """
    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError as error:
        found = errno.errorcode.get(error.errno or 0, str(error))
        raise ConfigError(
            [f"pidfd_open(2): found {found}; allowed: Linux 5.3 or later, and a sandbox that lets it through"]
        ) from None


def in_words(status: int) -> str:
    """Return the exit status of a child for the log, in words.

    Args:
        status: As `subprocess` has it: negative for a signal.
    """
    if status == OTHER_VERSION:
        return f"{status}: the code on disk is of another version than the proxy that runs; restart it"
    if status >= 0:
        return str(status)
    try:
        return signal.Signals(-status).name
    except ValueError:  # most real-time signals have no name
        return f"signal {-status}"


class Process(Protocol):
    """What a child needs of its process: of `subprocess.Popen`, or of `Forked`."""

    pid: int

    def wait(self) -> int:
        """Return its exit status when it has ended; negative for a signal."""

    def kill(self) -> None:
        """End it at once."""


class Child(ABC):
    """What a gateway and a forwarder have in common.

    Attributes:
        name: The name in the log.
        layout: The words of its block of the counters.
        process: The process; ``None`` while there is none.
        pidfd: Readable when the process has died; -1 while there is none.
        control: Our end of the control channel; ``None`` if it was hung up.
        ready: Whether it has reported that it works.
        started_at: Monotonic time in seconds at which the process was started.
        deaths_in_a_row: Deaths, each within `STABLE_AFTER` of its start, and starts that failed.
        restarts: How often the process was started again; -1 before the first start.
    """

    name: str
    layout: type[GatewayWord] | type[ForwarderWord]

    def __init__(self) -> None:
        self.process: Process | None = None
        self.pidfd = -1
        self.control: socket.socket | None = None
        self.ready = False
        self.started_at = 0.0
        self.deaths_in_a_row = 0
        self.restarts = -1

    @abstractmethod
    def block(self, counters: CounterFile) -> memoryview:
        """Return its block of the counters; `layout` says which word is where."""

    @abstractmethod
    def take_back_gauges(self, counters: CounterFile) -> int:
        """Set the gauges of a process that died to 0; return how many sessions it held.

        The next process in its place would reset them, but may die before it does.
        """

    def turns(self, counters: CounterFile) -> int:
        """Return how often the process's loop has gone round, as it counts that."""
        turns: int = self.block(counters)[self.layout.TURNS]
        return turns

    def waited(self, counters: CounterFile) -> int:
        """Return for how many nanoseconds processes in this place have waited for a core."""
        waited: int = self.block(counters)[self.layout.WAIT_NANOSECONDS]
        return waited

    @property
    def alive(self) -> bool:
        """Whether there is a process."""
        return self.process is not None

    def start(self, setup: ChildSetup, now: float) -> None:
        """Start the process.

        Args:
            setup: What the process is told, and which descriptors it inherits.
            now: Monotonic time in seconds.

        Raises:
            OSError: There is no process. Call `not_started` then, unless nothing is to be started again.
        """
        self.process = self._begin(setup)
        try:
            self.pidfd = os.pidfd_open(self.process.pid)
        except OSError:
            self.abandon()
            raise
        self.started_at = now
        self.ready = False
        self.restarts += 1

    @abstractmethod
    def _begin(self, setup: ChildSetup) -> Process:
        """Begin the process; raise `OSError` if there is none."""

    def abandon(self) -> None:
        """End a process that was just started and cannot be watched; there is none when this returns."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        self.process = None
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1

    def new_control(self) -> socket.socket:
        """Make a control channel; keep our end and return the child's.

        Raises:
            OSError: There are no descriptors left.
        """
        ours, theirs = channel_pair()
        self.control = ours
        return theirs

    def reap(self, now: float) -> tuple[int, float]:
        """Note that the process died.

        Args:
            now: Monotonic time in seconds.

        Returns:
            Its exit status as `subprocess` has it, and the seconds to wait before a restart.
        """
        assert self.process is not None
        status = self.process.wait()
        self.process = None
        self.ready = False
        os.close(self.pidfd)
        self.pidfd = -1
        self.hang_up()
        if now - self.started_at >= STABLE_AFTER:
            self.deaths_in_a_row = 0
        return status, self._back_off()

    def not_started(self) -> float:
        """Note that a start failed; return the seconds to wait before the next one."""
        return max(self._back_off(), BACK_OFF[1])

    def _back_off(self) -> float:
        delay = BACK_OFF[min(self.deaths_in_a_row, len(BACK_OFF) - 1)]
        self.deaths_in_a_row += 1
        return delay

    def hang_up(self) -> None:
        """Close the control channel: the child ends what it has and leaves."""
        if self.control is not None:
            self.control.close()
            self.control = None

    def kill(self, pid: int) -> None:
        """Kill the process with that id, unless it has died; one that was started in its place stays."""
        if self.process is not None and self.process.pid == pid:
            self.signal(signal.SIGKILL)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; do nothing if the process is gone."""
        if self.pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.pidfd, number)
