"""What a scenario is, and what it works with."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.progress import Progress
    from bench.results import Results
    from bench.stands import Fleet, Stand


T = TypeVar("T")


@dataclass
class Context:
    """The run as a scenario sees it."""

    fleet: Fleet
    results: Results
    progress: Progress
    quick: bool
    #: Tiny parameters: for the suite's own tests, where only the machinery is in question.
    smoke: bool = False

    def pick(self, full: T, quick: T, smoke: T) -> T:
        """The parameter of this size of run."""
        return smoke if self.smoke else quick if self.quick else full


class Scenario(ABC):
    """One question, asked of every proxy in turn."""

    name: str
    title: str

    @abstractmethod
    def steps(self, context: Context) -> float:
        """How many progress steps (about a second each) it will report."""

    @abstractmethod
    def run(self, context: Context) -> None:
        """Measure."""


def in_turn(
    context: Context, stands: list[Stand], rounds: int, what: str, measure: Callable[[Stand], None]
) -> None:
    """Every stand once a round, forwards and backwards alternately; one that fails is left out of the rest.

    The first round warms caches, allocators and congestion windows: the callback sees it as any other, so it
    must measure what the later rounds measure. Its samples are kept: the median of a full run does not mind
    them.
    """
    failed: set[str] = set()
    for number in range(rounds):
        context.results.round = number
        for stand in stands if number % 2 == 0 else reversed(stands):
            if stand.name in failed:
                continue
            failed.add(stand.name)
            with context.fleet.guarded(stand, what):
                measure(stand)
                failed.discard(stand.name)
    context.results.round = 0
