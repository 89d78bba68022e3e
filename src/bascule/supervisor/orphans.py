"""Reaps the orphans that a container's kernel gives to its first process, where that is us.

Commands that run in the container (an exec probe, ``kubectl exec``) may leave some. An orphan that has ended
keeps its process id until it is reaped, and a container has only so many.

Rules of this file: only the supervisor takes the exit status of a child of ours.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from bascule.supervisor.agenda import DoLater
    from bascule.supervisor.child import Child

__all__ = ["Orphans", "reap"]

_LOOK_EVERY: Final = 1.0
"""Seconds between two looks: the watchdog wakes us as often anyway."""


class Orphans:
    """Reaps orphans now and then.

    Args:
        children: Our own children, alive or not.
        do_later: Calls something after that many seconds.
    """

    def __init__(self, children: Iterable[Child], do_later: DoLater) -> None:
        self._children = children
        self._do_later = do_later

    def run(self) -> None:
        """Reap orphans that have ended, now and every `_LOOK_EVERY`; only process 1 is given any."""
        if os.getpid() != 1:
            return
        self._do_later(_LOOK_EVERY, self.run)
        reap({child.process.pid for child in self._children if child.process is not None})


def reap(ours: Collection[int]) -> None:
    """Reap all processes given to us that have ended, except for our own children.

    Args:
        ours: Process ids of our own children.
    """
    with contextlib.suppress(ChildProcessError):  # there is no child at all
        while (found := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is not None:
            if found.si_pid in ours:
                return  # it hides the others until the supervisor takes its status, before the next look
            os.waitid(os.P_PID, found.si_pid, os.WEXITED | os.WNOHANG)
