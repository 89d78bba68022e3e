"""Added latency at half load, and a terminal's keystrokes beside heavy neighbours.

Messages leave at random moments (exponential gaps); a latency counts from the moment the message should have
left, so a stalled proxy cannot hide behind a stalled client. Added means: less the same run straight to the
upstream in the same round.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from bench.generators import LoadFailed
from bench.processors import awake, real_time
from bench.results import Case, Metric
from bench.scenarios.base import Context, Scenario, in_turn
from bench.stands import direct

if TYPE_CHECKING:
    from bench.stands import Stand

ADDED_P50 = Metric("added_p50", "Added latency at half load, median", "µs", to_yardstick=False)
ADDED_P99 = Metric("added_p99", "Added latency at half load, 99th percentile", "µs", to_yardstick=False)
ROUND_P99 = Metric("half_load_p99", "Round trip at half load, 99th percentile", "µs")
ALONE = Metric("keystroke_alone_p99", "Keystroke round trip p99, alone", "µs")
BESIDE = Metric("keystroke_beside_p99", "Keystroke round trip p99, beside transfer and download", "µs")
SLOWDOWN = Metric("keystroke_slowdown", "Keystroke p99, beside over alone", "times")

SESSIONS = 50
TERMINALS = 20
#: Bytes of a download that nobody finishes.
ENDLESS = 10**15


class HalfLoad(Scenario):
    """Each proxy at half of what it can do, or of what nginx can if that is less: the fast share one rate."""

    name = "latency"
    title = "Added latency at half load"

    def steps(self, context: Context) -> float:
        """Rounds times proxies."""
        return len(context.fleet.peers) * context.pick(9, 3, 1) * context.pick(0.9, 0.6, 0.2)

    def run(self, context: Context) -> None:
        """Calibrate, then take turns: straight, through the proxy."""
        stands = context.fleet.stands()
        seconds = context.pick(0.4, 0.2, 0.05)
        case = Case("", 0, f"64 B, {SESSIONS} sessions")
        with ExitStack() as stack:
            straight = direct()
            stack.callback(straight.stop)
            straight_load = stack.enter_context(straight.load())
            straight_load.ask("open", n=SESSIONS)
            loads = {stand.name: stack.enter_context(stand.load()) for stand in stands}
            capacity: dict[str, float] = {}

            def calibrate(stand: Stand) -> None:
                if stand.name not in capacity:
                    loads[stand.name].ask("open", n=SESSIONS)
                answer = loads[stand.name].ask("run", size=64, flight=1, seconds=seconds / 2)
                capacity[stand.name] = max(capacity.get(stand.name, 0), answer["answered"] / answer["wall"])

            in_turn(context, stands, 2, "calibrating", calibrate)
            common = capacity.get("nginx", max(capacity.values(), default=1.0)) / 2
            context.results.about["half_load_rate"] = round(common)

            def measure(stand: Stand) -> None:
                words: dict[str, Any] = {
                    "size": 64,
                    "rate": round(min(capacity[stand.name] / 2, common)),
                    "seconds": seconds,
                }
                with real_time([straight.echo.process.pid, straight_load.process.pid]):
                    base = straight_load.ask("paced", **words)["latency_us"]
                with real_time([stand.echo.process.pid, loads[stand.name].process.pid]) as urgent:
                    ours = loads[stand.name].ask("paced", **words)["latency_us"]
                context.results.about["real_time"] = urgent
                context.results.add(self.name, case, ADDED_P50, stand.name, ours["p50"] - base["p50"])
                context.results.add(self.name, case, ADDED_P99, stand.name, ours["p99"] - base["p99"])
                context.results.add(self.name, case, ROUND_P99, stand.name, ours["p99"])
                context.progress.step(f"latency at half load: {stand.name}", context.pick(0.9, 0.6, 0.2))

            ready = [stand for stand in stands if stand.name in capacity]
            with awake():
                in_turn(context, ready, context.pick(9, 3, 1), "latency at half load", measure)


class Terminal(Scenario):
    """Twenty terminals typed into, alone and beside a transfer and a download that outlast the typing."""

    name = "terminal"
    title = "A terminal beside heavy neighbours"

    def steps(self, context: Context) -> float:
        """Rounds times proxies."""
        return len(context.fleet.peers) * context.pick(4, 2, 1) * context.pick(2.6, 1.5, 0.5)

    def run(self, context: Context) -> None:
        """The neighbours are at work before the first keystroke and until after the last, however fast."""
        stands = [s for s in context.fleet.stands() if s.peer is None or s.peer.http]
        words: dict[str, Any] = {"size": 64, "rate": 2000}
        case = Case("", 0, f"{TERMINALS} terminals")

        def measure(stand: Stand) -> None:
            with (
                stand.load() as terminal,
                stand.load() as transfer,
                stand.load() as download,
                real_time([stand.echo.process.pid], 1),
                real_time([terminal.process.pid], 2),
            ):
                terminal.ask("open", n=TERMINALS)
                transfer.ask("open", n=1, path="/source")
                alone = terminal.ask("paced", seconds=context.pick(1.0, 0.5, 0.1), **words)["latency_us"]
                transfer.send("ask", size=262144, endless=1)
                download.send("http", path=f"/large?bytes={ENDLESS}", conns=1, count=1, endless=1)
                begun = transfer.answer(strict=True), download.answer(strict=True)
                typed = terminal.ask("paced", seconds=context.pick(1.0, 0.4, 0.1), **words)
                for neighbour in (transfer, download):
                    neighbour.send("drop")
                ended = transfer.answer(strict=True), download.answer(strict=True)
            for name, moved, first, last in zip(
                ("transfer", "download"), ("pushed", "http_bytes"), begun, ended, strict=True
            ):
                lasted = last["wall"] - first["wall"]
                if lasted < typed["wall"] or last[moved] == first[moved]:
                    raise LoadFailed(
                        f"the {name} moved {last[moved] - first[moved]} {moved} in {lasted:.2f} s, beside "
                        f"{typed['wall']:.2f} s of keystrokes"
                    )
            beside = typed["latency_us"]
            context.results.add(self.name, case, ALONE, stand.name, alone["p99"])
            context.results.add(self.name, case, BESIDE, stand.name, beside["p99"])
            context.results.add(self.name, case, SLOWDOWN, stand.name, beside["p99"] / alone["p99"])
            context.progress.step(f"terminal beside a transfer: {stand.name}", context.pick(2.6, 1.5, 0.5))

        in_turn(context, stands, context.pick(4, 2, 1), "terminal beside a transfer", measure)
