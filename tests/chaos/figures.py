"""What a running proxy counts, and the connections that it has, looked at all the while."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from bascule.vocabulary import Direction, Opcode
from tests.chaos.connections import unended
from tests.chaos.oracle import DOWN, FULL
from tests.chaos.wire import PAYLOAD
from tests.support.series import read_series
from tests.support.waiting import eventually_async

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.chaos.scene import Scene

__all__ = ["Figures", "gone_back"]

_SETTLES_WITHIN: Final = 30.0
_COUNTERS: Final = ("_total", "_count", "_sum", "_bucket")
_IN_FLIGHT: Final = "ws_connection_in_flight_count"


def gone_back(before: dict[str, float], after: dict[str, float]) -> list[str]:
    """Return the counters that are less than they were."""
    return [
        f"{series} went from {value:g} to {after.get(series, 0):g}"
        for series, value in before.items()
        if (name := series.partition("{")[0]).endswith(_COUNTERS) and name != _IN_FLIGHT
        if after.get(series, 0) < value
    ]


class Figures:
    """Compares them with the chronicle.

    Args:
        scene: The proxy, and what its browsers know.
    """

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._chronicle = scene.chronicle
        self._series: dict[str, float] = {}
        self._open = 0
        self._reading = asyncio.Lock()

    async def watch(self) -> None:
        """Look at counters and connections until cancelled."""
        while True:
            for _ in range(5):
                self._count_connections()
                await asyncio.sleep(0.1)
            await self._read()

    async def _read(self) -> bool:
        """Read the counters; tell whether a gateway was there to say."""
        async with self._reading:
            try:
                after = read_series(await asyncio.to_thread(self._scene.proxy.metrics))
            except OSError:
                return False
            for finding in gone_back(self._series, after):
                self._chronicle.wrong(finding)
            self._series = after
        return True

    def _count_connections(self) -> None:
        """Find sessions that are admitted above the cap: connections to their upstream become more."""
        now = time.monotonic()
        # The kernel's list is not of one moment: of two, the shorter one.
        count = min(unended(self._scene.sessions_upstream.address) for _ in range(2))
        most = max(self._chronicle.then("cap", now - 1, now))
        # A gateway that stands still keeps connections whose session the forwarder has ended.
        may_keep = self._scene.variant == "tls" and self._chronicle.during(now - 1, now, "gateway", "all")
        if count > max(most, self._open) and not may_keep:
            self._chronicle.wrong(f"{count} connections to the upstream, with a cap of {most}")
        self._open = count

    def _sum(self, name: str, *labels: object) -> float:
        """Return the sum of a metric's series that have some labels."""
        wanted = [f'"{label}"' for label in labels]
        return sum(
            value
            for key, value in self._series.items()
            if key.partition("{")[0] == name and all(word in key for word in wanted)
        )

    async def settle(self) -> None:
        """Find what is counted otherwise than browsers know, at a moment at which nothing begins or ends."""

        async def is_right() -> bool:
            return await self._read() and not list(self._miscounted())

        try:
            await eventually_async(is_right, _SETTLES_WITHIN, "what is counted")
        except TimeoutError:
            for finding in self._miscounted():
                self._chronicle.wrong(finding)

    def _miscounted(self) -> Iterator[str]:
        """Yield the figures that are not between the least and the most that both ends have seen."""
        for name, value, least, most in self._bounds():
            if not least <= value <= most:
                yield f"{name}: {value:g} are counted, and {least} to {most} were seen"

    def _bounds(self) -> Iterator[tuple[str, float, int, int]]:
        chronicle, total = self._chronicle, self._sum
        in_flight, lost = total(_IN_FLIGHT), total("bascule_sessions_lost_total")
        every = "bascule_sessions_ended_total"
        ended = total(every) - total(every, "internal")  # which are among the lost ones
        begun, unanswered = chronicle.begun
        yield "in flight", in_flight, chronicle.live, chronicle.live
        yield "sessions", ended + lost + in_flight, begun, begun + unanswered
        for name in ("bascule_stashed_bytes", "bascule_http_requests_in_flight"):
            yield name, total(name), 0, 0
        answered = chronicle.answered
        yield "requests", total("bascule_http_requests_total"), answered, answered + chronicle.failed
        for metric, said in (
            ("ws_connection_rejections_total", FULL),
            ("ws_upstream_connect_failures_total", DOWN),
        ):
            heard = sum(story.heard == said for story in chronicle.stories.values())
            yield metric, total(metric), heard, heard + unanswered
        for direction in Direction:
            sent, came = chronicle.moved(direction)
            payload = total("bascule_payload_bytes_total", direction)
            yield f"bytes {direction}", payload, came[PAYLOAD], sent[PAYLOAD]
            for opcode in Opcode:
                # Pings are answered, and Closes made, by the proxy itself.
                least = came[opcode] if opcode < Opcode.CLOSE else 0
                frames = total("bascule_frames_total", direction, opcode.name.lower())
                yield f"{opcode.name} {direction}", frames, least, sent[opcode]
