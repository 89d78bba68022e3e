"""One child process: started, watched by a pidfd, started again with back-off."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Final

from bascule.errors import ConfigError
from bascule.handover.descriptors import channel_pair
from bascule.handover.setup import OTHER_VERSION

if TYPE_CHECKING:
    import socket

    from bascule.handover.setup import ChildSetup

STABLE_AFTER: Final = 30.0
"""Seconds a child must live for its death to count as the first."""

BACK_OFF: Final = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
"""Seconds before the first, second, … restart in a row: at once, unless it keeps dying."""


def check_kernel() -> None:
    """Find out whether children can be watched here.

    Raises:
        ConfigError: They cannot.
    """
    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError as error:
        found = errno.errorcode.get(error.errno or 0, str(error))
        raise ConfigError(
            [f"pidfd_open(2): found {found}; allowed: Linux 5.3 or later, and a sandbox that lets it through"]
        ) from None


def in_words(status: int) -> str:
    """Return the exit status of a child, as `subprocess` has it, for the log."""
    if status == OTHER_VERSION:
        return f"{status}: the code on disk is of another version than the proxy that runs; restart it"
    if status >= 0:
        return str(status)
    try:
        return signal.Signals(-status).name
    except ValueError:  # most real-time signals have no name
        return f"signal {-status}"


class Child:
    """A gateway or a forwarder.

    Args:
        module: What to run with ``python -m``.
        slot: Slot of a forwarder; -1 for a gateway.
        place: Of a gateway: which block of the counters is its own.

    Attributes:
        process: The process; ``None`` while there is none.
        pidfd: Readable when that has died; -1 while there is none.
        control: Our end of the channel to it; ``None`` when it was hung up.
        prepared: Of a gateway: whether it has all it needs, and is told of sessions where it is to serve.
        ready: Whether it works.
        hot_path: Of a forwarder: which build of the relay it runs, as it said last.
        started_at: When the process was started, monotonic.
        deaths_in_a_row: Deaths, each within `STABLE_AFTER` of its start, and starts that failed.
        restarts: How often it was started again; -1 before the first start.
    """

    def __init__(self, module: str, slot: int, place: int = 0) -> None:
        self.module = module
        self.slot = slot
        self.place = place
        self.process: subprocess.Popen[bytes] | None = None
        self.pidfd = -1
        self.control: socket.socket | None = None
        self.prepared = False
        self.ready = False
        self.hot_path = ""
        self.started_at = 0.0
        self.deaths_in_a_row = 0
        self.restarts = -1

    @property
    def is_gateway(self) -> bool:
        """Whether it is a gateway, and not a forwarder."""
        return self.slot < 0

    @property
    def name(self) -> str:
        """The name in the log."""
        return "gateway" if self.is_gateway else f"forwarder-{self.slot}"

    @property
    def alive(self) -> bool:
        """Whether there is a process."""
        return self.process is not None

    def start(self, setup: ChildSetup, now: float) -> None:
        """Start the process.

        Args:
            setup: What it is told, and which descriptors it inherits.
            now: Monotonic time.

        Raises:
            OSError: There is no process: see `not_started`.
        """
        told = setup.write()
        try:
            self.process = subprocess.Popen(
                # Not from the working directory: a file there with a module's name would run in its place.
                [sys.executable, "-P", "-m", self.module, str(told)],
                pass_fds=(told, *setup.descriptors),
                stdin=subprocess.DEVNULL,
                # Ctrl-C in a terminal goes to the whole group; here it is the supervisor's to act on.
                process_group=0,
            )
        finally:
            os.close(told)
        try:
            self.pidfd = os.pidfd_open(self.process.pid)
        except OSError:
            self.abandon()
            raise
        self.started_at = now
        self.prepared = self.ready = False
        self.restarts += 1

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
        """Make a control channel; keep one end and return the child's."""
        ours, theirs = channel_pair()
        self.control = ours
        return theirs

    def reap(self, now: float) -> tuple[int, float]:
        """Note that it died.

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
        """Note that a start failed; return the seconds to wait before the next."""
        self.hang_up()
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
        """Kill the process of that number, unless it has died; another that was started since stays."""
        if self.process is not None and self.process.pid == pid:
            self.signal(signal.SIGKILL)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; the process may be gone."""
        if self.pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.pidfd, number)
