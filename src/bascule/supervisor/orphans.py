"""Orphans of a container, which the kernel gives to its first process: to us, where nothing else is that.

Whoever runs something in the container (an exec probe, ``kubectl exec``) may leave some. One that has ended
keeps its process id, of which a container has only so many, until it is reaped.

Rules of this file: the exit status of a child of ours is the supervisor's to take.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from bascule.supervisor.child import Child

_LOOK_EVERY: Final = 1.0
"""Seconds between two looks: as often as the watchdog wakes us anyway."""


class Orphans:
    """Reaps them now and then.

    Args:
        children: Tells all that are no orphans, alive or not.
        do_later: Calls something in so many seconds.
    """

    def __init__(
        self,
        children: Callable[[], Iterable[Child]],
        do_later: Callable[[float, Callable[[], None]], None],
    ) -> None:
        self._children = children
        self._do_later = do_later

    def run(self) -> None:
        """Reap those that have ended, and do so again; only the first process of a container is given any."""
        if os.getpid() != 1:
            return
        self._do_later(_LOOK_EVERY, self.run)
        reap({child.process.pid for child in self._children() if child.process is not None})


def reap(ours: Collection[int]) -> None:
    """Reap all children that have ended, but for ours.

    Args:
        ours: Process ids.
    """
    with contextlib.suppress(ChildProcessError):  # there is no child at all
        while (found := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is not None:
            if found.si_pid in ours:
                return  # it hides the others until its pidfd has told of it, which is before the next look
            os.waitid(os.P_PID, found.si_pid, os.WEXITED | os.WNOHANG)
