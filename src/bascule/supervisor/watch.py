"""Which processes hang: their pidfd says that they live, but their event loop stands still.

Each process counts the turns of its loop in its own block of the counters, one every
`TURN_EVERY` at least. The supervisor looks as often, and counts looks rather than seconds: when a
machine was asleep, or a container frozen, hours have gone by although no process hangs. Nor does one that
waits for a core: another in its place would wait as well, and what it carries would be lost for nothing.

Rules of this file: pure.
"""

from __future__ import annotations

import math
from typing import Final

from bascule.handover.counters import TURN_EVERY

__all__ = ["LAST_WORDS", "STARTING", "Watch"]

STARTING: Final = 60.0
"""Seconds after which a process that starts must count its turns, however slow the machine is."""

_STILL: Final = 3
"""Looks without a turn after which a process stands still: a turn may end just after a look, or two."""

_KEPT_WAITING: Final = round(TURN_EVERY * 1e9 / 2)
"""Nanoseconds of waiting for a core, of those between two looks, with which a look is excused."""

_EXCUSED: Final = 2
"""Most looks that are excused, for each one that is not: a process that spins may be kept waiting, too."""

LAST_WORDS: Final = 1.0
"""Seconds from SIGABRT, at which a process prints its stack, to SIGKILL, which needs no cooperation."""


class Watch:
    """Watches one process.

    Args:
        patience: Seconds for which its loop may stand still; 0 for no limit.
    """

    __slots__ = ("_excused", "_looks", "_still", "_turns", "_waited")

    def __init__(self, patience: float) -> None:
        self._looks = math.ceil(patience / TURN_EVERY) if patience else math.inf
        self._turns = -1
        self._waited = 0
        self._still = self._excused = 0

    @property
    def stands_still(self) -> bool:
        """Whether the last `_STILL` looks found no turn, even if the process does not count as hung yet."""
        return self._still >= _STILL

    def look(self, turns: int, waited: int) -> bool:
        """Look at a process; return true when it is found to hang, once.

        Args:
            turns: Turns that it has counted.
            waited: Nanoseconds for which it has been ready to run and has had no core.
        """
        was_kept_waiting = waited - self._waited > _KEPT_WAITING
        self._waited = waited
        if turns != self._turns:
            self._turns = turns
            self._still = self._excused = 0
            return False
        self._still += 1
        if was_kept_waiting and self._excused < _EXCUSED * self._looks:
            self._excused += 1
            return False
        return self._still - self._excused == self._looks
