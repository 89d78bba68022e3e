"""Which processes hang: alive, as a pidfd has it, but their loop goes round no more.

Each process counts the turns of its loop in its own block of the counters, one every
`TURN_EVERY` at least. Who looks, looks as often, and counts looks rather than seconds: a machine
that was asleep, or a container that was frozen, wakes up with hours gone by and nobody to blame.

Rules of this file: pure, but for one look at our own log.
"""

from __future__ import annotations

import math
import select
from typing import Final

from bascule.handover.counters import TURN_EVERY

STARTING: Final = 60.0
"""Seconds within which one that starts begins to count its turns, however slow the machine is."""

_STILL: Final = 3
"""Looks after which nobody waits for a process any more: a turn may end just behind a look, or two."""

LAST_WORDS: Final = 1.0
"""Seconds from SIGABRT, at which a process writes where it stands, to SIGKILL, which needs no cooperation."""


class Watch:
    """Looks after one process.

    Args:
        patience: Seconds its loop may stand still; 0 for ever.
    """

    __slots__ = ("_looks", "_still", "_turns")

    def __init__(self, patience: float) -> None:
        self._looks = math.ceil(patience / TURN_EVERY) if patience else math.inf
        self._turns = -1
        self._still = 0

    @property
    def stands_still(self) -> bool:
        """Whether the last looks found no turn, be it long enough to hang or not."""
        return self._still >= _STILL

    def look(self, turns: int) -> bool:
        """Look at the turns it has counted; tell whether it hangs. It is told so once, not at each look."""
        if turns != self._turns:
            self._turns = turns
            self._still = 0
            return False
        self._still += 1
        return self._still == self._looks


def is_read(log: int) -> bool:
    """Tell whether a log takes another line now.

    One that does not is a full pipe, and whoever writes to it waits there: that is no fault of
    theirs, and nobody who takes their place would do better.

    Args:
        log: Its descriptor.
    """
    poll = select.poll()
    poll.register(log, select.POLLOUT)
    return bool(poll.poll(0))
