"""Who counts the sessions that are lost with a forwarder, and who logs them: one process each.

A forwarder counts the sessions that end in it. Those that end with it are counted

1. by the gateway to which it told its outcomes last, if that knew all its sessions, and logs each as well;
2. or else by the supervisor, which knows how many there were (`bascule.supervisor.losses`).

A former gateway and the one that serves may both hear of a death and know the sessions, and the supervisor
does not know what a gateway is about to do. So whoever counts or logs claims it first.

Two processes of a slot may die one soon after the other, and the sessions of the second be counted first: a
gateway that hears of a death counts at once, and the supervisor waits whether one does. So each death is
claimed for itself.

Rules of this file: the claims are two words of the forwarder's block, and nobody else writes them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bascule.handover.counters import ForwarderWord

if TYPE_CHECKING:
    from collections.abc import MutableSequence

__all__ = ["claim_to_count", "claim_to_log", "is_logged"]

_REMEMBERED: Final = 32
"""Processes of a slot whose claims are known: the last one that was claimed for, and those before it. In the
word its number, from 1 on, stands above a bit for each, of which the lowest is its own."""


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
    number, bits = divmod(words[ForwarderWord.LOST_TOLD], 1 << _REMEMBERED)
    return _is_claimed(bits, number - 1 - restarts)


def _is_claimed(bits: int, behind: int) -> bool:
    """Tell whether that process is claimed for which is so many behind the last one that is."""
    return behind >= _REMEMBERED or (behind >= 0 and bool(bits >> behind & 1))


def _claim(words: MutableSequence[int] | memoryview, word: ForwarderWord, restarts: int) -> bool:
    number, bits = divmod(words[word], 1 << _REMEMBERED)
    behind = number - 1 - restarts
    if _is_claimed(bits, behind):
        return False
    if behind < 0:
        number, bits, behind = restarts + 1, bits << min(-behind, _REMEMBERED), 0
    words[word] = number << _REMEMBERED | (bits | 1 << behind) % (1 << _REMEMBERED)
    return True
