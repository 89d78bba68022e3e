"""Figures as text: the tables of the terminal, and the same tables in Markdown for theirs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.results import YARDSTICK

if TYPE_CHECKING:
    from bench.results import Case, Results

#: Told apart from the peers in every table.
OURS = ("bascule", "bascule-pure")


def number(value: float) -> str:
    """Three significant digits, thousands grouped."""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    if abs(value) >= 100:
        return f"{value:.0f}"
    if abs(value) >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}"


def ratio(value: float | None) -> str:
    """1.05x, with the multiplication sign."""
    return "" if value is None else f"{value:.2f}\u00d7"


def cell(results: Results, scenario: str, case: Case, metric: str, proxy: str) -> str:
    """Median, spread, ratio to the yardstick."""
    figure = results.get(scenario, case, metric, proxy)
    if figure is None:
        return "-"
    text = number(figure.median)
    if figure.spread >= 0.005:
        text += f" \u00b1{figure.spread:.0%}"
    if proxy != YARDSTICK and results.metrics[metric].to_yardstick:
        to = results.ratio(scenario, case, metric, proxy, YARDSTICK)
        text += f" ({ratio(to)})" if to is not None else ""
    return text


def rows(results: Results, scenario: str, metric: str, cases: list[Case]) -> list[list[str]]:
    """A row per proxy, and one per build of Bascule for the ratio to the best peer."""
    found = []
    for proxy in results.proxies():
        cells = [cell(results, scenario, case, metric, proxy) for case in cases]
        if any(text != "-" for text in cells):
            found.append([proxy, *cells])
    for ours in OURS:
        cells = []
        for case in cases:
            best = results.best_peer(scenario, case, metric)
            to = results.ratio(scenario, case, metric, ours, best) if best else None
            cells.append(f"{ratio(to)} of {best}" if to is not None else "-")
        if any(text != "-" for text in cells):
            found.append([f"{ours} to the best peer", *cells])
    return found


def title(results: Results, scenario: str, metric: str, group: str) -> str:
    """What a table shows."""
    about = results.metrics[metric]
    which = f", {group}" if group else ""
    better = "" if about.lower else ", more is better"
    return f"{about.title}{which} [{about.unit}{better}]"


def terminal(results: Results) -> str:
    """Every table, aligned."""
    parts: list[str] = []
    last = ""
    for scenario, metric, group, cases in results.tables():
        if metric == "message_rate":
            continue  # wall clock: kept in the raw file, too noisy to compare by
        if scenario != last:
            parts.append(f"\n== {results.titles.get(scenario, scenario)} ==")
            last = scenario
        table = [["", *(case.label for case in cases)], *rows(results, scenario, metric, cases)]
        widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
        parts.append("\n" + title(results, scenario, metric, group))
        for row in table:
            text = [
                row[0].ljust(widths[0]),
                *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)),
            ]
            parts.append("  " + "  ".join(text).rstrip())
    parts.extend(f"\nabsent: {name}: {reason}" for name, reason in results.absent.items())
    if results.notes:
        parts.append("\nNotes:")
        parts.extend(f"  · {note}" for note in results.notes)
    return "\n".join(parts)


def markdown(results: Results, scenario: str) -> str:
    """The tables of one scenario."""
    parts: list[str] = []
    for a_scenario, metric, group, cases in results.tables():
        if a_scenario != scenario or metric == "message_rate":
            continue
        parts.append(f"**{title(results, scenario, metric, group)}**\n")
        parts.append("| | " + " | ".join(case.label for case in cases) + " |")
        parts.append("|---|" + "--:|" * len(cases))
        for row in rows(results, scenario, metric, cases):
            strong = row[0] == "bascule"
            parts.append("| " + " | ".join(f"**{text}**" if strong else text for text in row) + " |")
        parts.append("")
    return "\n".join(parts)
