"""Ends processes that hang, so that the supervisor finds them dead and starts others.

A process that starts does not count turns yet, and has longer; one that works, or a gateway that waits for
forwarders, has the configured time.

Rules of this file: `bascule.supervisor.watch` decides which process hangs; this file looks and acts.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import structlog

from bascule.handover.counters import TURN_EVERY
from bascule.supervisor import watch

if TYPE_CHECKING:
    from collections.abc import Callable

    from bascule.handover.counters import CounterFile
    from bascule.supervisor.agenda import DoLater
    from bascule.supervisor.child import Child

__all__ = ["Watchdog"]

_log = structlog.get_logger()


class Watchdog:
    """Watches all processes.

    Args:
        counters: Where the processes count their turns.
        patience: Seconds for which a loop may stand still; 0 for no limit.
        do_later: Calls something after that many seconds.
        on_still: Called when processes are found to stand still that did not before, though they do not count
            as hung yet.
    """

    def __init__(
        self,
        counters: CounterFile,
        patience: float,
        do_later: DoLater,
        on_still: Callable[[], object] = lambda: None,
    ) -> None:
        self._counters = counters
        self._patience = patience
        self._do_later = do_later
        self._on_still = on_still
        self._watched: dict[Child, watch.Watch] = {}

    def run(self) -> None:
        """Check that all loops run, now and every `TURN_EVERY`."""
        self._do_later(TURN_EVERY, self.run)
        is_new = False
        for child, watched in self._watched.items():
            stood_still = watched.stands_still
            if watched.look(child.turns(self._counters), child.waited(self._counters)):
                self._give_up(child)
            is_new |= watched.stands_still and not stood_still
        if is_new:
            self._on_still()

    def started(self, child: Child) -> None:
        """Watch a process that starts, with the longer patience."""
        self._watched[child] = watch.Watch(max(self._patience, watch.STARTING) if self._patience else 0)

    def works(self, child: Child) -> None:
        """Watch a process that works, with the configured patience."""
        self._watched[child] = watch.Watch(self._patience)

    def has_died(self, child: Child) -> None:
        """Stop watching a process."""
        self._watched.pop(child, None)

    def begin_anew(self, patience: float) -> None:
        """Watch all processes with another patience.

        Args:
            patience: Seconds for which a loop may stand still; 0 for no limit.
        """
        self._patience = patience
        for child in self._watched:
            if child.ready:
                self.works(child)
            else:
                self.started(child)

    def stands_still(self, child: Child) -> bool:
        """Tell whether the loop of a process stands still, even if it does not count as hung yet."""
        return self._watched[child].stands_still

    def _give_up(self, child: Child) -> None:
        """End a process that hangs; its pidfd tells the rest."""
        assert child.process is not None
        pid = child.process.pid
        _log.error("a process hangs", child=child.name, pid=pid, watchdog=self._patience)
        child.signal(signal.SIGABRT)  # it prints its stack and dies, if it still can
        self._do_later(watch.LAST_WORDS, lambda: child.kill(pid))
