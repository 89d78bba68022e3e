"""The children of the supervisor: started, heard, started again, and mourned.

Rules of this file: what holds for each child, whatever it is. What follows from a child's words, or from its
death, is the supervisor's to say (`Household`).
"""

from __future__ import annotations

import contextlib
import selectors
import time
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

import structlog

from bascule.errors import HandoverError
from bascule.handover.control import receive_control
from bascule.handover.counters import ForwarderWord
from bascule.handover.descriptors import PacketReader
from bascule.supervisor.gatewaychild import GatewayChild
from bascule.supervisor.prints import Prints

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator, Sequence

    from bascule.handover.control import ControlMessage
    from bascule.handover.counters import CounterFile
    from bascule.handover.setup import ChildSetup
    from bascule.supervisor.agenda import DoLater
    from bascule.supervisor.child import Child
    from bascule.supervisor.forwarderchild import ForwarderChild
    from bascule.supervisor.gateways import Gateways
    from bascule.supervisor.usage import Usage
    from bascule.supervisor.watchdog import Watchdog

__all__ = ["Children", "Death", "Household"]

_log = structlog.get_logger()

_OPEN: Final = int(ForwarderWord.OPEN)


class Death(NamedTuple):
    """What is known of a child that died.

    Attributes:
        pid: Its process id.
        status: Its exit status as `subprocess` has it.
        delay: Seconds to wait before a restart.
        sessions: How many sessions it held.
    """

    pid: int
    status: int
    delay: float
    sessions: int


class Household(Protocol):
    """What this file needs of the supervisor."""

    def setup(self, child: Child, control: int, prints: int) -> ChildSetup:
        """Return the setup of a child that is about to be started; see `Orders.setup`."""

    def on_message(self, child: Child, message: ControlMessage) -> None:
        """A child has said something."""

    def on_death(self, child: Child, death: Death) -> None:
        """A child has died; what it said last has been heard."""


class Children:
    """All processes of one proxy but its supervisor.

    Args:
        gateways: The gateways.
        forwarders: The forwarders, by slot.
        household: The supervisor.
        selector: Tells when a child has said or printed something, or died.
        counters: The shared counters.
        watchdog: Is told which processes there are.
        usage: Likewise.
        do_later: Calls something after that many seconds.
    """

    def __init__(
        self,
        gateways: Gateways,
        forwarders: Sequence[ForwarderChild],
        household: Household,
        *,
        selector: selectors.BaseSelector,
        counters: CounterFile,
        watchdog: Watchdog,
        usage: Usage,
        do_later: DoLater,
    ) -> None:
        self._gateways = gateways
        self._forwarders = forwarders
        self._household = household
        self._selector = selector
        self._counters = counters
        self._watchdog = watchdog
        self._usage = usage
        self._do_later = do_later
        self._prints = Prints(selector, do_later)
        self._reader = PacketReader()

    def __iter__(self) -> Iterator[Child]:
        """All children, alive or not."""
        yield from self._gateways
        yield from self._forwarders

    def open_sessions(self) -> int:
        """Return how many sessions the forwarders carry."""
        return self._counters.total(_OPEN)

    def turns_of(self, child: Child) -> int:
        """Return how often the loop of a process has gone round, as it counts that."""
        return child.turns(self._counters)

    def start(self, child: Child) -> None:
        """Start a process.

        Raises:
            OSError: The process could not be started; nothing of it is left.
        """
        try:
            with child.new_control() as theirs, self._prints.pipe(child) as prints:
                child.start(self._household.setup(child, theirs.fileno(), prints), time.monotonic())
            assert child.control is not None
            self._selector.register(child.control, selectors.EVENT_READ, lambda: self._on_control(child))
            self._selector.register(child.pidfd, selectors.EVENT_READ, lambda: self._on_death(child))
            self._prints.watch(child)
        except BaseException:  # such as no descriptor, memory or epoll watch: we would not notice its death
            self.hang_up(child)
            if child.alive:
                self._unwatch(child.pidfd)  # before its number is another descriptor's
                child.abandon()
            self._prints.end(child)
            raise
        assert child.process is not None
        self._watchdog.started(child)
        self._usage.started(child)
        _log.debug("started", child=child.name, pid=child.process.pid)
        self._gateways.started += isinstance(child, GatewayChild)

    def start_again(self, child: Child) -> None:
        """Start a process that died; try again later if it cannot be started now."""
        if child.alive or child not in tuple(self):
            return  # it was started meanwhile, or another gateway has taken over
        try:
            self.start(child)
        except OSError as error:
            # One process that cannot be started must not end live sessions.
            delay = child.not_started()
            _log.error("a process could not be started", child=child.name, error=str(error), retry_in=delay)
            self._do_later(delay, lambda: self.start_again(child))

    def hang_up(self, child: Child) -> None:
        """Close a child's control channel: the child ends what it has and leaves."""
        if child.control is not None:
            self._unwatch(child.control)
        child.hang_up()

    def _unwatch(self, descriptor: int | socket.socket) -> None:
        with contextlib.suppress(KeyError):  # it is not watched yet, or no longer
            self._selector.unregister(descriptor)

    def _on_control(self, child: Child) -> bool:
        """Hear one message of a child; tell whether there may be more."""
        if child.control is None or child.control not in self._selector.get_map():
            return False
        try:
            message, _ = receive_control(self._reader, child.control)
        except BlockingIOError:
            return False
        except HandoverError as error:
            # Whatever is wrong with one process must not end the sessions that others carry.
            _log.error("a control message cannot be read", child=child.name, error=str(error))
            return True
        if message is not None:
            self._household.on_message(child, message)
            return True
        self._selector.unregister(child.control)  # its pidfd tells the rest
        return False

    def _on_death(self, child: Child) -> None:
        assert child.process is not None
        pid = child.process.pid
        while self._on_control(child):
            pass  # what it said last counts: that a drain has begun, or that it has retired
        self._selector.unregister(child.pidfd)
        self.hang_up(child)
        self._watchdog.has_died(child)
        self._usage.has_died(child)
        status, delay = child.reap(time.monotonic())
        self._prints.end(child)
        self._household.on_death(child, Death(pid, status, delay, child.take_back_gauges(self._counters)))
