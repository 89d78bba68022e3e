"""The project's own targets, judged from the figures of one run: met, or missed by how much.

A target is a ratio (or a limit) over one or more cases; the worst case counts. What was not measured is said
to be so.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from bench.report import number
from bench.results import YARDSTICK

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.results import Case, Results

SMALL = ("64 B", "1 KiB", "4 KiB")
LARGE = ("256 KiB", "4 MiB", "32 MiB")


class Measured(NamedTuple):
    """One case of a target."""

    where: str
    value: float
    #: How far the value may be off, as a share of itself.
    spread: float = 0.0


@dataclass(frozen=True)
class Target:
    """What is promised, how it is computed, and where the limit lies."""

    text: str
    limit: float
    measure: Callable[[Results], list[Measured]]
    #: The measured value must not exceed the limit; False: must reach it.
    at_most: bool = True
    unit: str = "\u00d7"


@dataclass(frozen=True)
class Verdict:
    """A target judged."""

    target: Target
    worst: float | None
    where: str
    spread: float = 0.0

    @property
    def met(self) -> bool | None:
        """None: not measured."""
        if self.worst is None:
            return None
        return self.worst <= self.target.limit if self.target.at_most else self.worst >= self.target.limit


def _cases(results: Results, scenario: str, metric: str, labels: tuple[str, ...] | None) -> list[Case]:
    found = {
        case
        for a_scenario, case, a_metric, _ in results.figures
        if (a_scenario, a_metric) == (scenario, metric) and (labels is None or case.label in labels)
    }
    return sorted(found)


def ratios(
    scenario: str, metric: str, ours: str, other: str, labels: tuple[str, ...] | None = None
) -> Callable[[Results], list[Measured]]:
    """Ours over theirs, for each case with one of these labels."""

    def measure(results: Results) -> list[Measured]:
        found = []
        for case in _cases(results, scenario, metric, labels):
            value = results.ratio(scenario, case, metric, ours, other)
            if value is not None:
                parts = (results.get(scenario, case, metric, name) for name in (ours, other))
                spread = math.hypot(*(part.spread for part in parts if part))
                where = f"{case.label}{', ' if case.group else ''}{case.group}"
                found.append(Measured(where, value, spread))
        return found

    return measure


def values(
    scenario: str, metric: str, ours: str, last_only: bool = False
) -> Callable[[Results], list[Measured]]:
    """Our own figure, for each case (or the last of them)."""

    def measure(results: Results) -> list[Measured]:
        cases = _cases(results, scenario, metric, None)
        found = [(case.label, results.get(scenario, case, metric, ours)) for case in cases]
        kept = [Measured(label, figure.median, figure.spread) for label, figure in found if figure]
        return kept[-1:] if last_only else kept

    return measure


def working_latency(results: Results) -> list[Measured]:
    """p99 of the working sessions beside refusals, over the same without."""
    found = []
    for case in _cases(results, "cap", "working_p99", None):
        calm = results.get("cap", case, "working_p99", "bascule")
        stormy = results.get("cap", case, "working_p99_refusing", "bascule")
        if calm and stormy:
            found.append(Measured(case.label, stormy.median / calm.median))
    return found


def growth(results: Results) -> list[Measured]:
    """CPU per message, most sessions over a hundred, less what the kernel adds (the yardstick grows too)."""
    cases = [case for case in _cases(results, "growth", "growth_cpu", None) if case.order >= 100]
    if len(cases) < 2:
        return []
    few = results.ratio("growth", cases[0], "growth_cpu", "bascule", YARDSTICK)
    many = results.ratio("growth", cases[-1], "growth_cpu", "bascule", YARDSTICK)
    if not few or not many:
        return []
    return [Measured(f"{cases[-1].label} over {cases[0].label}", many / few)]


TARGETS = (
    Target(
        "CPU per small message, to the yardstick",
        1.10,
        ratios("messages", "message_cpu", "bascule", "yardstick", SMALL),
    ),
    Target(
        "CPU per small message, to nginx", 1.0, ratios("messages", "message_cpu", "bascule", "nginx", SMALL)
    ),
    Target(
        "CPU per small message, to HAProxy",
        1.0,
        ratios("messages", "message_cpu", "bascule", "haproxy", SMALL),
    ),
    Target(
        "CPU per GB from 256 KiB, to the yardstick",
        1.0,
        ratios("messages", "byte_cpu", "bascule", "yardstick", LARGE),
    ),
    Target(
        "CPU per GB from 256 KiB, to tuned nginx",
        0.5,
        ratios("messages", "byte_cpu", "bascule", "nginx-64k", LARGE),
    ),
    Target(
        "CPU per GB from 256 KiB, to default nginx",
        0.5,
        ratios("messages", "byte_cpu", "bascule", "nginx", LARGE),
    ),
    Target(
        "User memory per idle session in the forwarder",
        1.0,
        values("idle", "idle_forwarder", "bascule", True),
        unit=" KiB",
    ),
    Target(
        "User memory per idle session, all processes, to nginx",
        0.1,
        ratios("idle", "idle_user", "bascule", "nginx"),
    ),
    Target(
        "CPU per opening handshake, to nginx", 2.0, ratios("handshakes", "handshake_cpu", "bascule", "nginx")
    ),
    Target("CPU per opening handshake, to CHP", 0.5, ratios("handshakes", "handshake_cpu", "bascule", "chp")),
    Target(
        "Round trip p99 at half load, to nginx", 1.0, ratios("latency", "half_load_p99", "bascule", "nginx")
    ),
    Target(
        "Terminal p99 beside heavy neighbours, to alone",
        2.0,
        values("terminal", "keystroke_slowdown", "bascule"),
    ),
    Target(
        "The same, to the yardstick's beside the same neighbours",
        1.1,
        ratios("terminal", "keystroke_slowdown", "bascule", "yardstick"),
    ),
    Target(
        "Idle sessions with heartbeats",
        1.0,
        values("idle", "heartbeat_cpu", "bascule", True),
        unit=" % of a core",
    ),
    Target(
        "Refusals per CPU second", 5000, values("cap", "refusal_rate", "bascule"), at_most=False, unit="/s"
    ),
    Target("Latency of the working while others are refused, to calm", 1.5, working_latency),
    Target(
        "The same, to the yardstick's beside the same refusals",
        1.1,
        ratios("cap", "working_p99_refusing", "bascule", "yardstick"),
    ),
    Target(
        "Pure Python per small message, to nginx",
        1.5,
        ratios("messages", "message_cpu", "bascule-pure", "nginx", SMALL),
    ),
    Target(
        "Pure Python per GB from 256 KiB, to nginx",
        0.5,
        ratios("messages", "byte_cpu", "bascule-pure", "nginx", LARGE),
    ),
    Target(
        "Pure Python per GB from 256 KiB, to tuned nginx",
        0.5,
        ratios("messages", "byte_cpu", "bascule-pure", "nginx-64k", LARGE),
    ),
    Target("CPU per small HTTP request, to CHP", 1.0, ratios("http", "http_cpu", "bascule", "chp")),
    Target("Growth of CPU per message with sessions, beyond the yardstick's own", 1.25, growth),
)


def judge(results: Results) -> list[Verdict]:
    """Every target with its worst case."""
    verdicts = []
    for target in TARGETS:
        found = target.measure(results)
        if not found:
            verdicts.append(Verdict(target, None, ""))
            continue
        worst = (max if target.at_most else min)(found, key=lambda one: one.value)
        verdicts.append(Verdict(target, worst.value, worst.where, worst.spread))
    return verdicts


def rows(results: Results) -> list[tuple[str, str, str, str]]:
    """(target, limit, worst measured and where, verdict)."""
    found = []
    for verdict in judge(results):
        target = verdict.target
        sign = "\u2264" if target.at_most else "\u2265"
        limit = f"{sign} {number(target.limit)}{target.unit}"
        if verdict.worst is None:
            found.append((target.text, limit, "", "not measured"))
            continue
        measured = f"{number(verdict.worst)}{target.unit} ({verdict.where})"
        if verdict.met:
            outcome = "met"
        else:
            off = verdict.worst / target.limit if target.at_most else target.limit / max(verdict.worst, 1e-9)
            outcome = f"missed by {off - 1:.0%}" + (", within the spread" if off - 1 < verdict.spread else "")
        found.append((target.text, limit, measured, outcome))
    return found


def terminal(results: Results) -> str:
    """The judgement as text; empty when Bascule was not measured."""
    if "bascule" not in results.proxies() and "bascule-pure" not in results.proxies():
        return ""
    lines = ["\n== Targets (worst case of each) =="]
    lines += [
        f"  {text:66} {limit:>16}  {measured:42} {outcome}"
        for text, limit, measured, outcome in rows(results)
    ]
    return "\n".join(lines)
