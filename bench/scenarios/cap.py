"""At the cap: what a refusal costs, and whether those who are in notice it.

Only Bascule refuses a WebSocket as a WebSocket (101, then Close 1013); the peers have nothing to compare.
But a storm of connections costs everybody on the computer something, in the kernel alone: so the bare relay
carries sessions beside the same storm, and shows what of the delay is not ours.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from bench.processors import real_time
from bench.results import YARDSTICK, Case, Metric
from bench.scenarios.base import Context, Scenario, in_turn

if TYPE_CHECKING:
    from bench.generators import Load
    from bench.stands import Stand

PER_SECOND = Metric("refusal_rate", "Refusals per CPU second", "1/s", lower=False, to_yardstick=False)
REFUSAL = Metric("refusal_cpu", "CPU per refusal", "µs", to_yardstick=False)
CALM = Metric("working_p99", "Message p99 of the working sessions, nobody refused", "µs", to_yardstick=False)
STORMY = Metric(
    "working_p99_refusing", "Message p99 of the working sessions, refusals beside", "µs", to_yardstick=False
)


class AtTheCap(Scenario):
    """500 sessions work; newcomers, each an address of its own, are turned away."""

    name = "cap"
    title = "At the cap"

    def steps(self, context: Context) -> float:
        """Bascule only."""
        return sum(peer.name.startswith("bascule") for peer in context.fleet.peers) * context.pick(
            6.0, 3.0, 1.0
        )

    def run(self, context: Context) -> None:
        """Fresh processes with the cap under test."""
        n = context.pick(500, 500, 10)
        seconds = context.pick(0.6, 0.4, 0.1)
        rounds = context.pick(3, 2, 1)
        case = Case("", 0, f"{n} sessions working")
        with ExitStack() as stack:
            working: dict[str, tuple[Load, Load]] = {}
            stands: list[Stand] = []
            ours = [peer for peer in context.fleet.peers if peer.name.startswith("bascule")]
            for stand in context.fleet.start(ours, cap=n):
                stack.callback(stand.stop)
                with context.fleet.guarded(stand, "filling to the cap"):
                    inside, outside = stack.enter_context(stand.load()), stack.enter_context(stand.load())
                    inside.ask("open", n=n)
                    working[stand.name] = (inside, outside)
                    stands.append(stand)
            control = next((stand for stand in context.fleet.stands() if stand.name == YARDSTICK), None)
            if control is not None:
                beside = stack.enter_context(control.load())
                beside.ask("open", n=n)

            def work(stand: Stand, inside: Load, outside: Load, refusing: dict[str, Any]) -> None:
                with real_time([stand.echo.process.pid, inside.process.pid]):
                    calm = inside.ask("paced", size=64, rate=2000, seconds=seconds)["latency_us"]
                    outside.send("refused", **refusing)
                    stormy = inside.ask("paced", size=64, rate=2000, seconds=seconds)["latency_us"]
                    outside.answer()
                context.results.add(self.name, case, CALM, stand.name, calm["p99"])
                context.results.add(self.name, case, STORMY, stand.name, stormy["p99"])

            def measure(stand: Stand) -> None:
                inside, outside = working[stand.name]
                refusing = {"conc": 8, "seconds": seconds, "spread": 1}
                cost, answer = stand.measured(outside, "refused", strict=False, **refusing)
                refused = answer["close_1013"]
                if refused < answer["attempts"]:
                    context.results.note(
                        f"{stand.name}: {answer['attempts'] - refused} attempts were not refused"
                    )
                context.results.add(self.name, case, PER_SECOND, stand.name, refused / cost.cpu)
                context.results.add(self.name, case, REFUSAL, stand.name, cost.cpu / refused * 1e6)
                work(stand, inside, outside, refusing)
                if control is not None and stand is stands[0]:
                    work(control, beside, outside, refusing)
                context.progress.step(f"at the cap: {stand.name}", context.pick(2.0, 1.5, 1.0))

            in_turn(context, stands, rounds, "at the cap", measure)
