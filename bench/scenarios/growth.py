"""Growth: the same figures from one session to 8,000. Flat per message and per session is the aim."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from bench.results import Case, Metric
from bench.scenarios.base import Context, Scenario, in_turn

if TYPE_CHECKING:
    from bench.generators import Load
    from bench.stands import Stand

COST = Metric("growth_cpu", "CPU per 64 B round trip, by sessions", "µs")
MEMORY = Metric("growth_memory", "User memory of the whole proxy, by sessions", "MiB")
OPENING = Metric(
    "growth_handshake", "CPU per opening handshake, by sessions already open", "µs", to_yardstick=False
)


class Growth(Scenario):
    """One message in flight per session; every proxy keeps its sessions while the others have their turn."""

    name = "growth"
    title = "Growth with sessions"

    def counts(self, context: Context) -> tuple[int, ...]:
        """Two descriptors a session in the proxy: 8,000 stay within the 20,000 that a process may have."""
        return context.pick((1, 10, 100, 1000, 8000), (), (1, 20))

    def steps(self, context: Context) -> float:
        """By sessions."""
        return len(context.fleet.peers) * sum(0.6 + count / 1500 for count in self.counts(context))

    def run(self, context: Context) -> None:
        """Fresh processes, or the memory would be that of the scenarios before. A quick run leaves it out."""
        if not self.counts(context):
            return
        with ExitStack() as stack:
            stands: list[Stand] = []
            loads: dict[str, Load] = {}
            for stand in context.fleet.start(context.fleet.peers):
                stack.callback(stand.stop)
                stands.append(stand)
                loads[stand.name] = stack.enter_context(stand.load())
            so_far = 0
            for count in self.counts(context):
                case = Case("", count, f"{count:,}")

                def fill(stand: Stand, case: Case = case, more: int = count - so_far) -> None:
                    cost, _ = stand.measured(loads[stand.name], "open", n=more, conc=32)
                    if more >= 50:
                        context.results.add(self.name, case, OPENING, stand.name, cost.cpu / more * 1e6)

                def measure(stand: Stand, case: Case = case, count: int = count) -> None:
                    words = {"size": 64, "flight": 1, "seconds": context.pick(0.1, 0.1, 0.02)}
                    ask = stand.measured_one_by_one if count == 1 else stand.measured
                    cost, answer = ask(loads[stand.name], "run", **words)
                    context.results.add(
                        self.name, case, COST, stand.name, cost.cpu / answer["answered"] * 1e6
                    )
                    context.progress.step(f"{count:,} sessions: {stand.name}", (0.6 + count / 1500) / 3)

                def weigh(stand: Stand, case: Case = case) -> None:
                    context.results.add(self.name, case, MEMORY, stand.name, stand.memory() / 1024**2)

                in_turn(context, stands, 1, f"opening up to {count:,} sessions", fill)
                in_turn(context, stands, 3, f"{count:,} sessions", measure)
                in_turn(context, stands, 1, f"memory at {count:,} sessions", weigh)
                so_far = count
