"""Opening handshakes, and a storm of them."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

from bench import accounting
from bench.results import Case, Metric
from bench.scenarios.base import Context, Scenario, in_turn

if TYPE_CHECKING:
    from bench.stands import Stand

OPENING = Metric("handshake_cpu", "CPU per opening handshake", "µs", to_yardstick=False)
PER_SECOND = Metric(
    "handshake_rate", "Opening handshakes per CPU second", "1/s", lower=False, to_yardstick=False
)
LIFE = Metric(
    "session_cpu", "CPU per session from connect to close, log line included", "µs", to_yardstick=False
)
STORM_TIME = Metric("storm_time", "Until all sessions are back, wall clock", "ms", to_yardstick=False)
STORM_CPU = Metric("storm_cpu", "CPU of the storm", "ms", to_yardstick=False)

#: What is still on its way inside the proxy when the client has its answer (a hand-over, a log line) is part
#: of the price.
SETTLE = 0.05


class Handshakes(Scenario):
    """Connect, a browser's request head, 101; then the closing handshake."""

    name = "handshakes"
    title = "Opening handshakes"

    def steps(self, context: Context) -> float:
        """Rounds times proxies."""
        return len(context.fleet.peers) * context.pick(8, 2, 1) * 0.5

    def run(self, context: Context) -> None:
        """Batches, because a proxy may write its log line only at the end of a session."""
        stands = context.fleet.stands()
        batch = context.pick(300, 150, 20)
        case = Case("", 0, "16 at a time")
        with ExitStack() as stack:
            loads = {stand.name: stack.enter_context(stand.load()) for stand in stands}
            for load in loads.values():
                # Not counted: what a proxy does once, as compiling its code or filling its caches.
                load.ask("open", n=batch, conc=16)
                load.ask("close")

            def measure(stand: Stand) -> None:
                load = loads[stand.name]
                before = accounting.read_processor(stand.pids)
                load.ask("open", n=batch, conc=16)
                time.sleep(SETTLE)
                opened = accounting.read_processor(stand.pids)
                load.ask("close")
                time.sleep(SETTLE)
                closed = accounting.read_processor(stand.pids)
                opening, life = opened.since(before).cpu / batch, closed.since(before).cpu / batch
                context.results.add(self.name, case, OPENING, stand.name, opening * 1e6)
                context.results.add(self.name, case, PER_SECOND, stand.name, 1 / opening)
                context.results.add(self.name, case, LIFE, stand.name, life * 1e6)
                context.progress.step(f"opening handshakes: {stand.name}", 0.5)

            in_turn(context, stands, context.pick(8, 2, 1), "opening handshakes", measure)


class Storm(Scenario):
    """All sessions lost at once, all browsers back at once."""

    name = "storm"
    title = "Reconnect storm"

    def steps(self, context: Context) -> float:
        """Rounds times proxies."""
        return len(context.fleet.peers) * context.pick(3, 1, 1) * 1.0

    def run(self, context: Context) -> None:
        """Drop and reconnect; an attempt that fails is made again at once."""
        stands = context.fleet.stands()
        n = context.pick(500, 500, 20)
        case = Case("", 0, f"{n} sessions")
        with context.fleet.opened(stands, n) as loads:

            def measure(stand: Stand) -> None:
                before = accounting.read_processor(stand.pids)
                answer = loads[stand.name].ask("storm", strict=False)
                if answer["back"] < n:
                    context.results.note(f"{stand.name}, storm: {answer['back']} of {n} came back")
                time.sleep(SETTLE)
                cost = accounting.read_processor(stand.pids).since(before)
                context.results.add(self.name, case, STORM_TIME, stand.name, answer["wall"] * 1e3)
                context.results.add(self.name, case, STORM_CPU, stand.name, cost.cpu * 1e3)
                context.progress.step(f"reconnect storm: {stand.name}")

            in_turn(context, [s for s in stands if s.name in loads], context.pick(3, 1, 1), "storm", measure)
