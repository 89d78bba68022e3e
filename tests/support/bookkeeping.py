"""What a gateway knows of its sessions and counts, without a gateway."""

from __future__ import annotations

from typing import Any, Final

from bascule.gateway.sessions.outcomes import Outcomes
from bascule.gateway.sessions.registry import Registry
from bascule.handover.counters import CounterFile
from bascule.handover.messages import Live
from bascule.policy.budget import SessionBudget
from bascule.telemetry.accesslog import AccessLog
from bascule.telemetry.durations import Durations
from bascule.telemetry.errand import Errand
from bascule.telemetry.reservoir import Reservoir
from bascule.vocabulary import Kind
from tests.support.recorder import Recorder

__all__ = ["TAG", "Bookkeeping"]

TAG: Final = Errand("lab", Kind.JUPYTER, "10.0.0.7", "lab:8888", "ada").tag()
"""What a forwarder is given to tell later gateways whose a session is."""


class Bookkeeping:
    """A gateway's bookkeeping, with room for two sessions and one of each user."""

    def __init__(self, counters: CounterFile | None = None, place: int = 0, most: int = 2) -> None:
        self.counters = counters or CounterFile.create(2)
        self.registry = Registry()
        self.budget = SessionBudget(most, per_user=1)
        self.durations = Durations(Reservoir(300.0, 600.0, random=lambda: 0.5))
        self._log = Recorder()
        words = self.counters.gateway(place)
        log = AccessLog(self._log)
        self.outcomes = Outcomes(
            registry=self.registry, budget=self.budget, durations=self.durations, access_log=log,
            counters=self.counters, words=words, activity=None,
        )  # fmt: skip

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [fields for _, fields in self._log.seen]

    def live(self, identifier: int, since: float) -> None:
        self.outcomes.on_live(0, Live(0, identifier, 0, since, 0.0, -1.0, 0, 0, 0, 0, TAG))

    @property
    def sampled(self) -> int:
        return len(self.durations.dump()["held"])
