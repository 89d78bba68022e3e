"""The notebook mix.

Keystrokes up, many small outputs down, now and then a plot of 2 MiB (weights: native/load.c).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.results import Case, Metric
from bench.scenarios.base import Context, Scenario, in_turn

if TYPE_CHECKING:
    from bench.stands import Stand

COST = Metric("mix_cpu", "CPU per request of the mix", "µs")


class NotebookMix(Scenario):
    """Twenty notebooks, each with one request under way, the same sequence for every proxy."""

    name = "mix"
    title = "Notebook mix"
    sessions = 20

    def steps(self, context: Context) -> float:
        """Rounds times proxies."""
        return len(context.fleet.peers) * context.pick(4, 3, 1) * context.pick(0.5, 0.3, 0.1)

    def run(self, context: Context) -> None:
        """A fixed number of requests, so that every proxy moves the very same bytes."""
        stands = context.fleet.stands()
        requests = context.pick(4000, 1000, 200)
        case = Case("", 0, f"{self.sessions} notebooks")
        with context.fleet.opened(stands, self.sessions, path="/source") as loads:

            def measure(stand: Stand) -> None:
                cost, answer = stand.measured(loads[stand.name], "mix", messages=requests)
                context.results.add(self.name, case, COST, stand.name, cost.cpu / answer["answered"] * 1e6)
                context.progress.step(f"notebook mix: {stand.name}", context.pick(0.5, 0.3, 0.1))

            in_turn(context, stands, context.pick(4, 3, 1), "notebook mix", measure)
