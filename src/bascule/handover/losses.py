"""Who counts the sessions that are lost with a forwarder, and who logs them: one process each.

A forwarder counts the sessions that end in it. Those that end with it are counted

1. by the gateway to which it told its outcomes last, if that knew all its sessions, and logs each as well;
2. or else by the supervisor, which knows how many there were (`bascule.supervisor.losses`).

A former gateway and the one that serves may both hear of a death and know the sessions, and the supervisor
does not know what a gateway is about to do. So whoever counts or logs claims it first.

Rules of this file: the claims are two words of the forwarder's block, and nobody else writes them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bascule.handover.counters import ForwarderWord

if TYPE_CHECKING:
    from collections.abc import MutableSequence

__all__ = ["claim_to_count", "claim_to_log", "is_logged"]


def claim_to_count(words: MutableSequence[int] | memoryview, restarts: int) -> bool:
    """Claim to count the sessions that were lost with one process of a slot; true for the first who does.

    Args:
        words: The slot's block of the counters.
        restarts: How often the slot had been started again before, which tells its processes apart.
    """
    return _claim(words, ForwarderWord.LOST_COUNTED, restarts)


def claim_to_log(words: MutableSequence[int] | memoryview, restarts: int) -> bool:
    """Claim to log them, likewise."""
    return _claim(words, ForwarderWord.LOST_TOLD, restarts)


def is_logged(words: MutableSequence[int] | memoryview, restarts: int) -> bool:
    """Tell whether somebody who knew all of them has logged them."""
    return words[ForwarderWord.LOST_TOLD] > restarts


def _claim(words: MutableSequence[int] | memoryview, word: ForwarderWord, restarts: int) -> bool:
    if words[word] > restarts:
        return False
    words[word] = restarts + 1
    return True
