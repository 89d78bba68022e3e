"""Ends processes that hang, so that the supervisor finds them dead and starts others.

One that is started counts no turns yet, and has longer; one that works has what is configured.

Rules of this file: who hangs is decided in `bascule.supervisor.watch`; here it is looked at and acted on.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Final

import structlog

from bascule.handover.counters import TURN_EVERY, CounterFile, ForwarderWord, GatewayWord
from bascule.supervisor import watch

if TYPE_CHECKING:
    from collections.abc import Callable

    from bascule.supervisor.child import Child

_log = structlog.get_logger()

_LOG: Final = 2
"""Descriptor of standard error, where all our processes log."""


class Watchdog:
    """Looks after processes.

    Args:
        counters: Where they count their turns.
        patience: Seconds that a loop may stand still; 0 for ever.
        do_later: Calls something in so many seconds.
    """

    def __init__(
        self, counters: CounterFile, patience: float, do_later: Callable[[float, Callable[[], None]], None]
    ) -> None:
        self._counters = counters
        self._patience = patience
        self._do_later = do_later
        self._watched: dict[Child, watch.Watch] = {}

    def run(self) -> None:
        """Look whether all loops go round, and do so again."""
        self._do_later(TURN_EVERY, self.run)
        if not watch.is_read(_LOG):
            return
        for child, watched in self._watched.items():
            if watched.look(self._turns_of(child)):
                self._give_up(child)

    def started(self, child: Child) -> None:
        """Look after a process that begins."""
        self._watched[child] = watch.Watch(max(self._patience, watch.STARTING) if self._patience else 0)

    def works(self, child: Child) -> None:
        """Look after a process that has begun, as strictly as is configured."""
        self._watched[child] = watch.Watch(self._patience)

    def has_died(self, child: Child) -> None:
        """Look after a process no more."""
        self._watched.pop(child, None)

    def begin_anew(self, patience: float, needed: Child) -> None:
        """Go by another patience, for all.

        Args:
            patience: As above.
            needed: Who is looked after as one that works, though it may still begin.
        """
        self._patience = patience
        for child in self._watched:
            if child.ready:
                self.works(child)
            else:
                self.started(child)
        self.works(needed)

    def stands_still(self, child: Child) -> bool:
        """Tell whether nobody should wait for a process, be it long enough to hang or not."""
        return self._watched[child].stands_still

    def _turns_of(self, child: Child) -> int:
        if child.is_gateway:
            return int(self._counters.gateway(child.place)[GatewayWord.TURNS])
        return int(self._counters.forwarder(child.slot)[ForwarderWord.TURNS])

    def _give_up(self, child: Child) -> None:
        """End a process that hangs; its pidfd tells the rest."""
        assert child.process is not None
        pid = child.process.pid
        _log.error("a process hangs", child=child.name, pid=pid, watchdog=self._patience)
        child.signal(signal.SIGABRT)  # it says where it stands, and dies, if it can do so much
        self._do_later(watch.LAST_WORDS, lambda: child.kill(pid))
