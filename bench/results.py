"""Figures of a run: samples per scenario, case, metric and proxy; medians, spread, ratios; JSON in and out.

A ratio is the median of the ratios round by round, not the ratio of medians: the proxies take turns within a
round, so what slows the computer for a while slows both sides of the division.
"""

from __future__ import annotations

import json
import statistics
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bench.places import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

YARDSTICK = "yardstick"
#: Neither the product nor the floor: what "best peer" chooses from.
NOT_PEERS = frozenset({YARDSTICK, "bascule", "bascule-pure", "direct"})


@dataclass(frozen=True)
class Metric:
    """What a number means."""

    name: str
    title: str
    unit: str
    #: True: the smaller the better.
    lower: bool = True
    #: The yardstick parses nothing, so some figures have no meaning for it.
    to_yardstick: bool = True


@dataclass(frozen=True, order=True)
class Case:
    """One column of a table: ``group`` names the table, ``label`` the column, ``order`` its place."""

    group: str
    order: float
    label: str


@dataclass
class Figure:
    """The samples of one metric of one case of one proxy, and the round that each is of."""

    samples: list[float] = field(default_factory=list)
    rounds: list[int] = field(default_factory=list)

    @property
    def median(self) -> float:
        """The figure that is shown."""
        return statistics.median(self.samples)

    @property
    def spread(self) -> float:
        """Half the distance between the quartiles, as a share of the median.

        0 for fewer than three samples.
        """
        if len(self.samples) < 3 or not self.median:
            return 0.0
        low, _, high = statistics.quantiles(self.samples, n=4, method="inclusive")
        return abs((high - low) / 2 / self.median)

    @property
    def by_round(self) -> dict[int, float]:
        """The sample of each round this proxy took part in."""
        return dict(zip(self.rounds, self.samples, strict=True))


Key = tuple[str, Case, str, str]  # scenario, case, metric, proxy


class Results:
    """Everything a run found out."""

    def __init__(self) -> None:
        self.figures: dict[Key, Figure] = {}
        self.metrics: dict[str, Metric] = {}
        self.titles: dict[str, str] = {}  # scenario -> title
        self.absent: dict[str, str] = {}  # proxy -> reason
        self.notes: list[str] = []
        self.about: dict[str, Any] = {}
        self.round = 0  # what is measured now belongs to it

    def add(self, scenario: str, case: Case, metric: Metric, proxy: str, sample: float) -> None:
        """The sample of this round."""
        self.metrics.setdefault(metric.name, metric)
        figure = self.figures.setdefault((scenario, case, metric.name, proxy), Figure())
        figure.samples.append(sample)
        figure.rounds.append(self.round)

    def note(self, text: str) -> None:
        """Something that did not work, for the reader."""
        if text not in self.notes:
            self.notes.append(text)

    def get(self, scenario: str, case: Case, metric: str, proxy: str) -> Figure | None:
        """The figure, if it was measured."""
        return self.figures.get((scenario, case, metric, proxy))

    def value(self, scenario: str, group: str, label: str, metric: str, proxy: str) -> float | None:
        """The median, found by names."""
        for (a_scenario, case, a_metric, a_proxy), figure in self.figures.items():
            if (a_scenario, case.group, case.label, a_metric, a_proxy) == (
                scenario,
                group,
                label,
                metric,
                proxy,
            ):
                return figure.median
        return None

    def ratio(self, scenario: str, case: Case, metric: str, proxy: str, to: str) -> float | None:
        """How many times the figure of ``to``: over the rounds in which both took part, if there are any."""
        ours, theirs = self.get(scenario, case, metric, proxy), self.get(scenario, case, metric, to)
        if ours is None or theirs is None:
            return None
        if min(ours.median, theirs.median) <= 0:
            return None  # a difference that vanished in the noise has no ratio
        mine, other = ours.by_round, theirs.by_round
        pairs = [(mine[number], other[number]) for number in mine.keys() & other.keys()]
        if pairs and all(b > 0 for _, b in pairs):
            return statistics.median(a / b for a, b in pairs)
        return ours.median / theirs.median

    def best_peer(self, scenario: str, case: Case, metric: str) -> str | None:
        """The peer with the best median."""
        better = min if self.metrics[metric].lower else max
        found = {
            proxy: figure.median
            for (a_scenario, a_case, a_metric, proxy), figure in self.figures.items()
            if (a_scenario, a_case, a_metric) == (scenario, case, metric) and proxy not in NOT_PEERS
        }
        return better(found, key=lambda proxy: found[proxy]) if found else None

    def proxies(self) -> list[str]:
        """Those with figures, in the order of their first."""
        return list(dict.fromkeys(proxy for _, _, _, proxy in self.figures))

    def tables(self) -> Iterator[tuple[str, str, str, list[Case]]]:
        """(scenario, metric, group, its cases in order), in the order of measurement."""
        found: dict[tuple[str, str, str], set[Case]] = {}
        for scenario, case, metric, _ in self.figures:
            found.setdefault((scenario, metric, case.group), set()).add(case)
        for (scenario, metric, group), cases in found.items():
            yield scenario, metric, group, sorted(cases)

    def as_json(self) -> dict[str, Any]:
        """For the raw file, where samples without rounds are of the first, the second and so on."""
        return {
            "about": self.about,
            "absent": self.absent,
            "notes": self.notes,
            "scenarios": self.titles,
            "metrics": [vars(metric) for metric in self.metrics.values()],
            "figures": [
                {
                    "scenario": scenario,
                    "group": case.group,
                    "order": case.order,
                    "case": case.label,
                    "metric": metric,
                    "proxy": proxy,
                    "median": figure.median,
                    "spread": round(figure.spread, 4),
                    "samples": figure.samples,
                    **({} if figure.rounds == [*range(len(figure.samples))] else {"rounds": figure.rounds}),
                }
                for (scenario, case, metric, proxy), figure in self.figures.items()
            ],
        }

    def save(self, path: Path) -> None:
        """Write the raw file."""
        text = json.dumps(self.as_json(), indent=1)
        path.write_text(text.replace(f"{ROOT}/", "") + "\n")  # where the clone lies is nobody's business

    @classmethod
    def load(cls, path: Path) -> Results:
        """Read a raw file."""
        raw = json.loads(path.read_text())
        results = cls()
        results.about, results.absent, results.notes = raw["about"], raw["absent"], raw["notes"]
        results.titles = raw["scenarios"]
        results.metrics = {metric["name"]: Metric(**metric) for metric in raw["metrics"]}
        for one in raw["figures"]:
            case = Case(one["group"], one["order"], one["case"])
            samples = one["samples"]
            figure = Figure(samples, one.get("rounds", [*range(len(samples))]))
            results.figures[one["scenario"], case, one["metric"], one["proxy"]] = figure
        return results
