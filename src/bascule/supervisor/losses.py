"""Sessions that were lost with their forwarder, and that no gateway has counted.

When a forwarder dies, the gateway counts its sessions and logs a line for each. A gateway that dies at about
the same time, or did not have the forwarder's list yet, does not. Then the supervisor counts as many as the
forwarder held, without knowing which sessions they were.

Rules of this file: the process that counts a death notes it in the forwarder's block
(`ForwarderWord.LOST_COUNTED`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from bascule.handover.counters import CounterFile, ForwarderWord

if TYPE_CHECKING:
    from bascule.supervisor.agenda import DoLater
    from bascule.supervisor.gateways import Gateways

__all__ = ["Losses"]

_WITHIN: Final = 5.0
"""Seconds after which a living gateway has counted a death, of which it hears at once."""


class _Death(NamedTuple):
    """The death of a forwarder: see `Losses.on_forwarders_death`."""

    slot: int
    restarts: int
    sessions: int


class Losses:
    """Deaths of forwarders whose sessions a gateway may not have counted.

    Args:
        counters: All counters.
        gateways: The gateways, of which the serving one counts.
        do_later: Calls something after that many seconds.
    """

    def __init__(self, counters: CounterFile, gateways: Gateways, do_later: DoLater) -> None:
        self._counters = counters
        self._gateways = gateways
        self._do_later = do_later
        self._deaths: list[_Death] = []

    def on_forwarders_death(self, slot: int, restarts: int, sessions: int) -> None:
        """A forwarder died.

        Args:
            slot: Its slot.
            restarts: How often the slot had been restarted before, which tells its processes apart.
            sessions: How many sessions it held.
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
        """Count the sessions that no gateway has counted: it has had the time, or has died."""
        deaths, self._deaths = self._deaths, []
        for slot, restarts, sessions in deaths:
            words = self._counters.forwarder(slot)
            if words[ForwarderWord.LOST_COUNTED] <= restarts:
                words[ForwarderWord.LOST_COUNTED] = restarts + 1
                words[ForwarderWord.LOST] += sessions
