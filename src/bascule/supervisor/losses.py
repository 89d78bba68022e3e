"""Sessions that were lost with their forwarder, and that no gateway has counted.

A gateway that dies at about the same time as the forwarder, or did not have its list yet, counts none of them
(`bascule.handover.losses`). Then the supervisor counts as many as the forwarder held, without knowing which
sessions they were.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from bascule.handover.counters import CounterFile, ForwarderWord
from bascule.handover.losses import claim_to_count

if TYPE_CHECKING:
    from bascule.supervisor.agenda import DoLater
    from bascule.supervisor.gatewaychild import GatewayChild
    from bascule.supervisor.gateways import Gateways

__all__ = ["Losses"]

_WITHIN: Final = 5.0
"""Seconds after which a living gateway has counted a death, of which it hears at once, if it had any turn."""

_TURNS: Final = 2
"""Turns of its loop that show so: one may have begun before."""

_LOOKS: Final = 12
"""Most looks, each after `_WITHIN`: with ``watchdog: 0`` nobody kills a gateway that hangs."""


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
        self._awaited: set[_Death] = set()
        """Deaths that the serving gateway still has time to count."""

    def on_forwarders_death(self, slot: int, restarts: int, sessions: int) -> None:
        """A forwarder died.

        Args:
            slot: Its slot.
            restarts: How often the slot had been restarted before, which tells its processes apart.
            sessions: How many sessions it held.
        """
        if not sessions:
            return
        death = _Death(slot, restarts, sessions)
        serving = self._gateways.serving
        if serving.alive and serving.prepared:
            self._awaited.add(death)
            self._await(death, serving, serving.turns(self._counters), _LOOKS)
        else:
            self._count(death)

    def _await(self, death: _Death, gateway: GatewayChild, before: int, looks: int) -> None:
        """Give a gateway time to count a death; it knows more sessions than we, if some were on their way."""

        def look() -> None:
            had_turns = gateway.turns(self._counters) >= before + _TURNS
            if death in self._awaited and gateway.alive and not had_turns and looks > 1:
                self._await(death, gateway, before, looks - 1)
            else:
                self._count(death)

        self._do_later(_WITHIN, look)

    def settle(self) -> None:
        """Count all sessions that no gateway has counted: the one that was to do so has died."""
        for death in tuple(self._awaited):
            self._count(death)

    def _count(self, death: _Death) -> None:
        """Count the sessions of one forwarder, unless a gateway has."""
        self._awaited.discard(death)
        words = self._counters.forwarder(death.slot)
        if claim_to_count(words, death.restarts):
            words[ForwarderWord.LOST] += death.sessions
