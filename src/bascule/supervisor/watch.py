"""Which processes hang: their pidfd says that they live, but their event loop stands still.

Each process counts the turns of its loop in its own block of the counters, one every
`TURN_EVERY` at least. The supervisor looks as often, and counts looks rather than seconds: when a
machine was asleep, or a container frozen, hours have gone by although no process hangs.

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

LAST_WORDS: Final = 1.0
"""Seconds from SIGABRT, at which a process prints its stack, to SIGKILL, which needs no cooperation."""


class Watch:
    """Watches one process.

    Args:
        patience: Seconds for which its loop may stand still; 0 for no limit.
    """

    __slots__ = ("_looks", "_still", "_turns")

    def __init__(self, patience: float) -> None:
        self._looks = math.ceil(patience / TURN_EVERY) if patience else math.inf
        self._turns = -1
        self._still = 0

    @property
    def stands_still(self) -> bool:
        """Whether the last `_STILL` looks found no turn, even if the process does not count as hung yet."""
        return self._still >= _STILL

    def look(self, turns: int) -> bool:
        """Look at the turns that the process has counted; return true when it is found to hang, once."""
        if turns != self._turns:
            self._turns = turns
            self._still = 0
            return False
        self._still += 1
        return self._still == self._looks
