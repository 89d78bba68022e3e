"""Plain HTTP beside the WebSockets: small requests on kept connections, and a download of 100 MB."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from bench.results import Case, Metric
from bench.scenarios.base import Context, Scenario, in_turn

if TYPE_CHECKING:
    from bench.stands import Stand

SMALL = Metric("http_cpu", "CPU per small HTTP request", "µs")
LARGE = Metric("download_cpu", "CPU per GB downloaded", "s")


class PlainHTTP(Scenario):
    """Eight connections with a browser's fields; a body of 128 bytes, or of 100 MB."""

    name = "http"
    title = "Plain HTTP"

    def steps(self, context: Context) -> float:
        """Rounds times proxies."""
        return len(context.fleet.peers) * context.pick(4, 2, 1) * 0.4

    def run(self, context: Context) -> None:
        """The Python relay serves no plain HTTP and is left out."""
        stands = [s for s in context.fleet.stands() if s.peer is None or s.peer.http]
        seconds = context.pick(0.15, 0.1, 0.03)
        size = context.pick(100_000_000, 100_000_000, 1_000_000)
        small, large = Case("", 0, "128 B, 8 connections"), Case("", 1, f"{size // 1_000_000} MB")
        with ExitStack() as stack:
            loads = {stand.name: stack.enter_context(stand.load()) for stand in stands}

            def measure(stand: Stand) -> None:
                load = loads[stand.name]
                cost, answer = stand.measured(load, "http", path="/api/status", conns=8, seconds=seconds)
                context.results.add(self.name, small, SMALL, stand.name, cost.cpu / answer["requests"] * 1e6)
                cost, answer = stand.measured(load, "http", path=f"/large?bytes={size}", conns=1, count=1)
                context.results.add(
                    self.name, large, LARGE, stand.name, cost.cpu / (answer["http_bytes"] / 1e9)
                )
                context.progress.step(f"plain HTTP: {stand.name}", 0.4)

            in_turn(context, stands, context.pick(4, 2, 1), "plain HTTP", measure)
