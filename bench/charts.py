"""Charts as SVG by hand: small multiples of bars, and lines for growth. Readable on light and dark pages.

Colours come from classes that a media query swaps for dark; nothing else is styled by the page around. A bar
that would dwarf the others is cut with a visible break, its number stays.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from bench.report import number
from bench.results import YARDSTICK

if TYPE_CHECKING:
    from bench.results import Results

STYLE = """
  text { font: 12px system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; fill: #24292f }
  .title { font-size: 16px; font-weight: 600 } .head { font-weight: 600 } .soft { fill: #57606a }
  .page { fill: #ffffff } .grid { stroke: #d0d7de; stroke-width: 1 } .cut { stroke: #ffffff; stroke-width: 3 }
  .spread { stroke: #24292f; stroke-width: 1; opacity: .55 }
  .peer { fill: #afb8c1 } .floor { fill: #6e7781 } .ours { fill: #0969da } .pure { fill: #54aeff }
  .line { fill: none; stroke-width: 1.5 }
  .l-peer { stroke: #afb8c1 } .l-floor { stroke: #57606a; stroke-dasharray: 4 3 }
  .l-ours { stroke: #0969da; stroke-width: 3 } .l-pure { stroke: #54aeff; stroke-width: 2.5 }
  .mine { font-weight: 600 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 } .soft { fill: #9198a1 } .page { fill: #0d1117 } .grid { stroke: #30363d }
    .cut { stroke: #0d1117 } .spread { stroke: #e6edf3 }
    .peer { fill: #57606a } .floor { fill: #8b949e } .ours { fill: #4493f8 } .pure { fill: #1f6feb }
    .l-peer { stroke: #6e7681 } .l-floor { stroke: #9198a1 }
    .l-ours { stroke: #4493f8 } .l-pure { stroke: #79c0ff }
  }
"""

WIDTH = 880
MARGIN = 24
LABEL = 104
VALUE = 84
ROW = 19
GAP = 28


@dataclass(frozen=True)
class Panel:
    """One set of bars."""

    scenario: str
    group: str
    label: str  #: the case; "*" takes the last one
    metric: str
    heading: str


@dataclass(frozen=True)
class Chart:
    """A file of panels, two in a row."""

    name: str
    title: str
    panels: tuple[Panel, ...]


CHARTS = (
    Chart(
        "overview",
        "What a proxied WebSocket costs (smaller is better)",
        (
            Panel(
                "messages", "50 sessions, 8 in flight", "64 B", "message_cpu", "CPU per round trip of 64 B"
            ),
            Panel("messages", "1 session, 1 in flight", "4 MiB", "byte_cpu", "CPU per GB, messages of 4 MiB"),
            Panel("idle", "", "*", "idle_user", "User memory per idle session"),
            Panel("handshakes", "", "*", "handshake_cpu", "CPU per opening handshake"),
        ),
    ),
    Chart(
        "small-messages",
        "CPU per round trip of small messages (smaller is better)",
        (
            Panel(
                "messages",
                "50 sessions, 1 in flight",
                "64 B",
                "message_cpu",
                "64 B, 50 sessions, one in flight",
            ),
            Panel(
                "messages",
                "50 sessions, 8 in flight",
                "64 B",
                "message_cpu",
                "64 B, 50 sessions, eight in flight",
            ),
            Panel(
                "messages",
                "50 sessions, 8 in flight",
                "1 KiB",
                "message_cpu",
                "1 KiB, 50 sessions, eight in flight",
            ),
            Panel(
                "messages",
                "50 sessions, 8 in flight",
                "16 KiB",
                "message_cpu",
                "16 KiB, 50 sessions, eight in flight",
            ),
        ),
    ),
    Chart(
        "large-messages",
        "CPU per GB of large messages, and the notebook mix (smaller is better)",
        (
            Panel("messages", "1 session, 1 in flight", "256 KiB", "byte_cpu", "256 KiB, one session"),
            Panel("messages", "1 session, 1 in flight", "4 MiB", "byte_cpu", "4 MiB, one session"),
            Panel("messages", "1 session, 1 in flight", "32 MiB", "byte_cpu", "32 MiB, one session"),
            Panel("mix", "", "*", "mix_cpu", "Notebook mix, CPU per request"),
        ),
    ),
    Chart(
        "latency",
        "Latency (smaller is better; wall clock, so noisier than CPU)",
        (
            Panel("latency", "", "*", "added_p50", "Added at half load, median"),
            Panel("latency", "", "*", "added_p99", "Added at half load, 99th percentile"),
            Panel("terminal", "", "*", "keystroke_alone_p99", "Keystroke p99, alone"),
            Panel("terminal", "", "*", "keystroke_beside_p99", "Keystroke p99, beside 1 GB and a download"),
        ),
    ),
    Chart(
        "sessions",
        "Sessions: opening, losing and keeping them (smaller is better)",
        (
            Panel("handshakes", "", "*", "handshake_cpu", "CPU per opening handshake"),
            Panel("storm", "", "*", "storm_time", "Reconnect storm until all are back"),
            Panel("idle", "", "*", "idle_user", "User memory per idle session"),
            Panel("idle", "", "*", "heartbeat_cpu", "Idle with heartbeats"),
        ),
    ),
    Chart(
        "http",
        "Plain HTTP beside the WebSockets (smaller is better)",
        (
            Panel("http", "", "128 B, 8 connections", "http_cpu", "CPU per small request"),
            Panel("http", "", "*", "download_cpu", "CPU per GB downloaded"),
        ),
    ),
)


def kind(proxy: str) -> str:
    """The class of its colour."""
    return {"bascule": "ours", "bascule-pure": "pure", YARDSTICK: "floor"}.get(proxy, "peer")


def panel_rows(results: Results, panel: Panel) -> list[tuple[str, float, float]]:
    """(proxy, median, spread), best first."""
    cases = sorted(
        {
            case
            for scenario, case, metric, _ in results.figures
            if (scenario, metric, case.group) == (panel.scenario, panel.metric, panel.group)
            and panel.label in ("*", case.label)
        }
    )
    if not cases:
        return []
    found = []
    for proxy in results.proxies():
        figure = results.get(panel.scenario, cases[-1], panel.metric, proxy)
        if figure:
            found.append((proxy, figure.median, figure.spread))
    return sorted(found, key=lambda row: row[1])


def text(x: float, y: float, words: str, classes: str = "", anchor: str = "start") -> str:
    """A piece of text."""
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{classes}" text-anchor="{anchor}">{escape(words)}</text>'


def draw_bars(results: Results, panel: Panel, x: float, y: float, width: float) -> tuple[list[str], float]:
    """The parts of one panel, and the height used."""
    found = panel_rows(results, panel)
    metric = results.metrics[panel.metric]
    parts = [text(x, y, panel.heading, "head"), text(x + width, y, metric.unit, "soft", "end")]
    room = width - LABEL - VALUE
    middle = statistics.median(value for _, value, _ in found)
    limit = min(max(value for _, value, _ in found), max(3 * middle, 1.2 * found[0][1]))
    limit = limit if limit > 0 else 1.0
    top = y + 10
    for i, (proxy, value, spread) in enumerate(found):
        row = top + i * ROW
        length = max(min(value / limit, 1.0), 0.0) * room
        mine = "mine" if kind(proxy) in ("ours", "pure") else ""
        parts.append(text(x + LABEL - 8, row + 13, proxy, mine, "end"))
        place = f'x="{x + LABEL:.1f}" y="{row + 3:.1f}" width="{max(length, 1):.1f}" height="13" rx="2"'
        parts.append(f'<rect {place} class="{kind(proxy)}"/>')
        if value > limit:
            for offset in (10, 15):
                cut = x + LABEL + length - offset
                parts.append(
                    f'<path d="M{cut - 4:.1f} {row + 18:.1f} L{cut + 4:.1f} {row + 1:.1f}" class="cut"/>'
                )
        elif spread and value > 0:
            low, high = (x + LABEL + length * (1 + sign * spread) for sign in (-1, 1))
            high = min(high, x + LABEL + room)
            length = max(length, high - x - LABEL)  # the number stands beyond the spread
            parts.append(f'<path d="M{low:.1f} {row + 9.5:.1f} H{high:.1f}" class="spread"/>')
        parts.append(text(x + LABEL + length + 6, row + 13, number(value), mine))
    return parts, 10 + len(found) * ROW


def document(title: str, parts: list[str], height: float) -> str:
    """The whole file."""
    size = f'width="{WIDTH}" height="{height:.0f}"'
    box = f'viewBox="0 0 {WIDTH} {height:.0f}"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {box} {size} role="img" aria-label="{escape(title)}">',
        f"<style>{STYLE}</style>",
        f'<rect class="page" {size} rx="6"/>',
        text(MARGIN, 32, title, "title"),
        *parts,
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def bars(results: Results, chart: Chart) -> str | None:
    """A chart of panels; None when nothing of it was measured."""
    panels = [panel for panel in chart.panels if panel_rows(results, panel)]
    if not panels:
        return None
    column = (WIDTH - 2 * MARGIN - GAP) / 2
    parts: list[str] = []
    y = 64.0
    for first in range(0, len(panels), 2):
        tallest = 0.0
        for i, panel in enumerate(panels[first : first + 2]):
            drawn, height = draw_bars(results, panel, MARGIN + i * (column + GAP), y, column)
            parts += drawn
            tallest = max(tallest, height)
        y += tallest + 36
    return document(chart.title, parts, y - 8)


def growth(results: Results) -> str | None:
    """CPU per message against sessions, both axes logarithmic."""
    points: dict[str, list[tuple[float, float]]] = {}
    for (scenario, case, metric, proxy), figure in results.figures.items():
        if scenario == "growth" and metric == "growth_cpu":
            points.setdefault(proxy, []).append((case.order, figure.median))
    if not points or max(len(line) for line in points.values()) < 2:
        return None
    left, right, top, bottom = MARGIN + 40, WIDTH - MARGIN - 110, 62, 372
    xs = sorted({x for line in points.values() for x, _ in line})
    ys = [y for line in points.values() for _, y in line if y > 0]
    low, high = math.log10(min(ys)) - 0.05, math.log10(max(ys)) + 0.05

    def place(x: float, y: float) -> tuple[float, float]:
        across = (math.log10(x) - math.log10(xs[0])) / (math.log10(xs[-1]) - math.log10(xs[0]))
        up = (math.log10(y) - low) / (high - low)
        return left + across * (right - left), bottom - up * (bottom - top)

    parts = [
        text(MARGIN, 50, "µs of CPU per 64 B round trip, one in flight per session; sessions across", "soft")
    ]
    for step in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000):
        if low <= math.log10(step) <= high:
            _, y = place(xs[0], step)
            parts.append(f'<path d="M{left} {y:.1f} H{right}" class="grid"/>')
            parts.append(text(left - 8, y + 4, str(step), "soft", "end"))
    for x in xs:
        at, _ = place(x, 10**low)
        parts.append(text(at, bottom + 18, f"{x:,.0f}", "soft", "middle"))
    ends: list[tuple[float, str]] = []
    for proxy, line in sorted(points.items(), key=lambda item: kind(item[0]) in ("ours", "pure")):
        path = " L".join("{:.1f} {:.1f}".format(*place(x, y)) for x, y in sorted(line) if y > 0)
        parts.append(f'<path d="M{path}" class="line l-{kind(proxy)}"/>')
        ends.append((place(*sorted(line)[-1])[1], proxy))
    last = 0.0
    ends.sort()
    for i, (y, proxy) in enumerate(ends):
        last = max(min(y, bottom - 14 * (len(ends) - 1 - i)), last + 14)  # room for the names below
        parts.append(text(right + 8, last + 4, proxy, "mine" if kind(proxy) in ("ours", "pure") else ""))
    return document("CPU per message as sessions grow (flat is good)", parts, max(bottom, last) + 36)


def all_charts(results: Results) -> dict[str, str]:
    """File name to SVG, for what was measured."""
    drawn = {chart.name: bars(results, chart) for chart in CHARTS}
    drawn["growth"] = growth(results)
    return {f"{name}.svg": svg for name, svg in drawn.items() if svg}
