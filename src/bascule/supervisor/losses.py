"""Sessions that were lost with their forwarder, and that no gateway has counted.

A gateway counts them as it hears of the death, with a line for each. One that dies about then, or had not
been told yet what the forwarder carried, does not: then they are counted here, as many as the forwarder held,
and what they were is known to nobody.

Rules of this file: whoever counts a death says so in the forwarder's block (`ForwarderWord.LOST_COUNTED`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from bascule.handover.counters import CounterFile, ForwarderWord

if TYPE_CHECKING:
    from collections.abc import Callable

    from bascule.supervisor.gateways import Gateways

_WITHIN: Final = 5.0
"""Seconds in which a gateway that lives has counted: it hears of a death at once."""


class _Death(NamedTuple):
    slot: int
    restarts: int
    sessions: int


class Losses:
    """The deaths of forwarders of which it is not known whether a gateway has counted what they took along.

    Args:
        counters: Where it is counted.
        gateways: Who counts.
        do_later: Calls something in so many seconds.
    """

    def __init__(
        self,
        counters: CounterFile,
        gateways: Gateways,
        do_later: Callable[[float, Callable[[], None]], None],
    ) -> None:
        self._counters = counters
        self._gateways = gateways
        self._do_later = do_later
        self._deaths: list[_Death] = []

    def on_forwarders_death(self, slot: int, restarts: int, sessions: int) -> None:
        """A forwarder died.

        Args:
            slot: Its slot.
            restarts: How often the slot had been started again before, which tells its processes apart.
            sessions: How many it held.
        """
        if not sessions:
            return
        self._deaths.append(_Death(slot, restarts, sessions))
        serving = self._gateways.serving
        if serving.alive and serving.prepared:
            self._do_later(_WITHIN, self.settle)
        else:
            self.settle()

    def settle(self) -> None:
        """Count what no gateway has counted: it has had the time, or has died."""
        deaths, self._deaths = self._deaths, []
        for slot, restarts, sessions in deaths:
            words = self._counters.forwarder(slot)
            if words[ForwarderWord.LOST_COUNTED] <= restarts:
                words[ForwarderWord.LOST_COUNTED] = restarts + 1
                words[ForwarderWord.LOST] += sessions
