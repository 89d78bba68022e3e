"""Round trips: what a message costs, by size, sessions and messages in flight.

A round trip is one masked message up and one unmasked message down, so the proxy moves each payload twice.
Small sizes are told in CPU microseconds per round trip, large ones in CPU seconds per gigabyte moved (both
directions counted).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.results import Case, Metric
from bench.scenarios.base import Context, Scenario, in_turn

if TYPE_CHECKING:
    from bench.stands import Stand

KIB, MIB = 1024, 1024 * 1024
PER_MESSAGE = Metric("message_cpu", "CPU per round trip", "µs")
PER_GB = Metric("byte_cpu", "CPU per GB moved", "s")
RATE = Metric("message_rate", "Round trips a second, wall clock", "1/s", lower=False)
LARGE = 256 * KIB


def size_label(size: int) -> str:
    """64 B, 16 KiB, 4 MiB."""
    return f"{size} B" if size < KIB else f"{size // KIB} KiB" if size < MIB else f"{size // MIB} MiB"


def group_label(sessions: int, flight: int) -> str:
    """The table a case belongs to."""
    return f"{sessions} session{'s' if sessions > 1 else ''}, {flight} in flight"


@dataclass(frozen=True)
class Shape:
    """One case: size of a message, sessions, messages in flight per session."""

    size: int
    sessions: int
    flight: int

    @property
    def is_one_by_one(self) -> bool:
        """Whether only one process works at a time: large messages are under way in pieces."""
        return self.sessions == self.flight == 1 and self.size < LARGE

    @property
    def case(self) -> Case:
        """As a column."""
        return Case(group_label(self.sessions, self.flight), self.size, size_label(self.size))


SMALL = [
    Shape(size, sessions, flight)
    for flight in (1, 8)
    for sessions in (1, 50, 500)
    for size in (64, KIB, 16 * KIB)
]
#: The product of all sizes, sessions and flights, less what would only prove that memory is finite (50
#: sessions with eight 32 MiB messages each are 13 GB under way) or say nothing that its neighbours do not.
FULL = [
    *SMALL,
    Shape(4 * KIB, 50, 1),
    Shape(4 * KIB, 50, 8),
    Shape(256 * KIB, 1, 1),
    Shape(256 * KIB, 1, 8),
    Shape(256 * KIB, 50, 1),
    Shape(4 * MIB, 1, 1),
    Shape(4 * MIB, 1, 8),
    Shape(4 * MIB, 50, 1),
    Shape(32 * MIB, 1, 1),
]
QUICK = [
    Shape(64, 50, 1),
    Shape(64, 50, 8),
    Shape(KIB, 50, 8),
    Shape(256 * KIB, 1, 1),
    Shape(4 * MIB, 1, 1),
]
SMOKE = [Shape(64, 5, 8), Shape(256 * KIB, 1, 1)]


class Messages(Scenario):
    """Closed loop.

    Every session keeps its messages in flight for a slice of time; the next proxy has its turn.
    """

    name = "messages"
    title = "Round trips"

    def shapes(self, context: Context) -> list[Shape]:
        """The cases of this size of run."""
        return context.pick(FULL, QUICK, SMOKE)

    def rounds(self, context: Context) -> int:
        """Turns per proxy and case."""
        return context.pick(4, 4, 1)

    def steps(self, context: Context) -> float:
        """One per case and proxy."""
        return len(self.shapes(context)) * len(context.fleet.peers) * self.rounds(context) * 0.14

    def run(self, context: Context) -> None:
        """All sessions are opened once; a case uses as many of them as it wants, the others stay silent."""
        shapes = self.shapes(context)
        stands = context.fleet.stands()
        seconds = context.pick(0.09, 0.07, 0.02)
        with context.fleet.opened(stands, max(shape.sessions for shape in shapes)) as loads:
            for shape in shapes:

                def measure(stand: Stand, shape: Shape = shape) -> None:
                    words = {
                        "size": shape.size,
                        "flight": shape.flight,
                        "active": shape.sessions,
                        "seconds": seconds,
                    }
                    ask = stand.measured_one_by_one if shape.is_one_by_one else stand.measured
                    cost, answer = ask(loads[stand.name], "run", **words)
                    trips = answer["answered"]
                    if shape.size < LARGE:
                        context.results.add(
                            self.name, shape.case, PER_MESSAGE, stand.name, cost.cpu / trips * 1e6
                        )
                    else:
                        moved = 2 * shape.size * trips / 1e9
                        context.results.add(self.name, shape.case, PER_GB, stand.name, cost.cpu / moved)
                    context.results.add(self.name, shape.case, RATE, stand.name, trips / answer["wall"])
                    context.progress.step(f"{shape.case.label}, {shape.case.group}: {stand.name}", 0.14)

                ready = [stand for stand in stands if stand.name in loads]
                in_turn(
                    context, ready, self.rounds(context), f"{shape.case.label}, {shape.case.group}", measure
                )
