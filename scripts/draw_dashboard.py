"""Draw the committed dashboard from what a real Prometheus answers.

No Grafana is needed: Prometheus scrapes the given pods, or two that it starts and puts
under load, or with ``--invented`` two that only look like pods. Every
query of dashboards/hopsworks.json is run over the time scraped, and each panel is
drawn as its JSON says it should look: place, title, legend, unit, colour, dash,
stacking. A query without an answer is an error.

Usage: python -m scripts.draw_dashboard [--pod NAME=URL]... [--invented] [--seconds 120] [--out docs/pictures]
"""

from __future__ import annotations

import argparse
import contextlib
import math
import sys
import tempfile
import time
import urllib.parse
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator, MultipleLocator

from dashboards import hopsworks, local_prometheus, queries, rehearsal, sample_pod

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

CLASSIC = ["#73bf69", "#f2cc0c", "#8ab8ff", "#ff780a", "#b877d9", "#5794f2", "#37872d", "#fa6400", "#96d98d"]
"""Grafana's classic palette without its red, which we keep for limits and refusals."""

NAMED = {"red": "#e02f44", "orange": "#ff780a", "green": "#73bf69"}
SCRAPE_INTERVAL = 1.0
CELL_WIDTH, CELL_HEIGHT = 0.72, 0.42
"""Inches of one of Grafana's 24 columns and of one unit of height."""


@dataclass(frozen=True, slots=True)
class Theme:
    """Colours of a page."""

    page: str
    panel: str
    text: str
    quiet: str
    grid: str


THEMES = {
    "dark": Theme("#111217", "#181b1f", "#ccccdc", "#8e8e9c", "#2c3036"),
    "light": Theme("#f4f5f5", "#ffffff", "#24292e", "#6b7280", "#e3e4e6"),
}


@dataclass(frozen=True, slots=True)
class Series:
    """One line of a panel, with the drawing its overrides ask for."""

    name: str
    times: Sequence[float]
    values: Sequence[float]
    colour: str | None
    dashed: bool
    stacked: bool


def scaled(value: float, base: float, prefixes: Sequence[str], suffix: str) -> str:
    """Print a number with the largest prefix that keeps it above one."""
    power = 0
    while abs(value) >= base and power < len(prefixes) - 1:
        value, power = value / base, power + 1
    return f"{value:.3g} {prefixes[power]}{suffix}".strip()


def seconds(value: float) -> str:
    """Print a duration in the unit that fits; nothing is no milliseconds."""
    if value == 0:
        return "0 s"
    for limit, divisor, unit in ((1, 0.001, "ms"), (60, 1, "s"), (3600, 60, "min"), (86400, 3600, "h")):
        if abs(value) < limit:
            return f"{value / divisor:.3g} {unit}"
    return f"{value / 86400:.3g} d"


def formatted(unit: str, value: float) -> str:
    """Print a value as Grafana prints its unit."""
    if math.isnan(value):
        return "-"
    binary = ("", "Ki", "Mi", "Gi", "Ti")
    printers = {
        "bytes": lambda: scaled(value, 1024, binary, "B"),
        "binBps": lambda: scaled(value, 1024, binary, "B/s"),
        "percentunit": lambda: f"{value * 100:.3g}%",
        "cps": lambda: scaled(value, 1000, ("", "K", "M"), "c/s"),
        "short": lambda: scaled(value, 1000, ("", "K", "M"), ""),
        "s": lambda: seconds(value),
    }
    return printers[unit]()


def drawing(panel: Mapping[str, Any], ref_id: str, name: str) -> dict[str, Any]:
    """Return the properties of one series: the panel's defaults, then the overrides that match."""
    custom = panel["fieldConfig"]["defaults"].get("custom", {})
    properties: dict[str, Any] = {f"custom.{key}": value for key, value in custom.items()}
    for override in panel["fieldConfig"]["overrides"]:
        matcher = override["matcher"]
        if matcher["options"] == {"byName": name, "byFrameRefID": ref_id}[matcher["id"]]:
            properties |= {item["id"]: item["value"] for item in override["properties"]}
    return properties


def answered(
    server: local_prometheus.Prometheus, query: queries.PanelQuery, start: float, end: float
) -> list[Series]:
    """Run one query over the range and return what is to be drawn."""
    series = []
    for item in server.query_range(query.expression, start, end, SCRAPE_INTERVAL):
        name = query.name(item["metric"])
        properties = drawing(query.panel, query.ref_id, name)
        colour = properties.get("color", {}).get("fixedColor")
        series.append(
            Series(
                name=name,
                times=[point[0] - end for point in item["values"]],
                values=[float(point[1]) for point in item["values"]],
                colour=NAMED.get(colour, colour),
                dashed=properties.get("custom.lineStyle", {}).get("fill") == "dash",
                stacked=properties.get("custom.stacking", {}).get("mode") == "normal",
            )
        )
    return sorted(series, key=lambda one: one.name)


def draw_panel(axes: Any, panel: Mapping[str, Any], series: Sequence[Series], theme: Theme) -> None:
    """Draw one panel into its axes."""
    defaults = panel["fieldConfig"]["defaults"]
    unit = defaults["unit"]
    palette = iter(CLASSIC * 4)
    handles, base = [], dict[float, float]()
    for one in series:
        colour = one.colour or next(palette)
        values = one.values
        if one.stacked:
            below = [base.get(at, 0.0) for at in one.times]
            values = [low + value for low, value in zip(below, one.values, strict=True)]
            base |= dict(zip(one.times, values, strict=True))
            opacity = defaults["custom"]["fillOpacity"] / 100
            axes.fill_between(one.times, below, values, color=colour, alpha=opacity, linewidth=0)
        style: tuple[float, Sequence[float]] = (0, (5, 4)) if one.dashed else (0, ())
        width = defaults["custom"]["lineWidth"] * 0.8
        axes.plot(one.times, values, color=colour, linestyle=style, linewidth=width)
        finite = [value for value in one.values if not math.isnan(value)] or [math.nan]
        label = f"{one.name}   last {formatted(unit, finite[-1])}   max {formatted(unit, max(finite))}"
        # Two whole dashes fit into the legend's short line.
        key: tuple[float, Sequence[float]] = (0, (3, 1.6)) if one.dashed else style
        handles.append(Line2D([], [], color=colour, linestyle=key, linewidth=2, label=label))
    axes.set_facecolor(theme.panel)
    axes.grid(visible=True, color=theme.grid, linewidth=0.6)
    axes.tick_params(colors=theme.quiet, labelsize=7, length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    top = max((value for one in series for value in one.values if not math.isnan(value)), default=1.0)
    stacked_top = max(base.values(), default=0.0)
    axes.set_ylim(defaults["min"], max(top, stacked_top) * 1.12 or 1.0)
    if unit in {"bytes", "binBps"}:  # a power of two reads better than 76.3 MiB
        axes.yaxis.set_major_locator(MultipleLocator(2 ** math.ceil(math.log2(max(top, 1) / 4))))
    else:
        axes.yaxis.set_major_locator(MaxNLocator(4, integer=unit == "short" and top > 4))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: formatted(unit, value)))
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f} s"))
    if label := defaults["custom"].get("axisLabel"):
        axes.set_ylabel(label, color=theme.quiet, fontsize=6.5)
    axes.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(0, -0.13),
        ncols=2 if len(handles) > 3 else 1,
        fontsize=6.8,
        frameon=False,
        labelcolor=theme.text,
        borderaxespad=0,
        handlelength=2.6,
        columnspacing=1.2,
    )


def draw_stat(axes: Any, panel: Mapping[str, Any], series: Sequence[Series], theme: Theme) -> None:
    """Draw one number, and below it what it was."""
    defaults = panel["fieldConfig"]["defaults"]
    axes.set_axis_off()
    for one in series:
        last = next((value for value in reversed(one.values) if not math.isnan(value)), math.nan)
        colour = theme.text
        for step in defaults["thresholds"]["steps"]:
            if step["value"] is None or last >= step["value"]:
                colour = NAMED[step["color"]]
        text = formatted(defaults["unit"], round(last, 2 if defaults["unit"] == "percentunit" else None))
        axes.text(
            0.5, 0.62, text, transform=axes.transAxes, color=colour, fontsize=20, fontweight="bold",
            ha="center", va="center",
        )  # fmt: skip
        axes.fill_between(one.times, one.values, color=colour, alpha=0.15, linewidth=0)
        axes.plot(one.times, one.values, color=colour, linewidth=0.8)
        finite = [value for value in one.values if not math.isnan(value)] or [0.0]
        axes.set_ylim(0, max(finite) * 4 or 1.0)
        axes.set_xlim(one.times[0], one.times[-1])


def draw(
    document: Mapping[str, Any], data: Mapping[int, Sequence[Series]], theme: Theme, note: str, out: Path
) -> None:
    """Draw the page."""
    rows = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in document["panels"]) + 2
    figure = Figure(figsize=(24 * CELL_WIDTH, rows * CELL_HEIGHT), facecolor=theme.page, dpi=110)
    heading = f"{hopsworks.FOLDER} / {document['title']}"
    figure.text(0.012, 1 - 0.8 / rows, heading, color=theme.text, fontsize=13, fontweight="bold")
    figure.text(0.988, 1 - 0.8 / rows, note, color=theme.quiet, fontsize=8, ha="right")
    for panel in document["panels"]:
        at = panel["gridPos"]
        left, width = at["x"] / 24, at["w"] / 24
        top = 1 - (at["y"] + 1.4) / rows
        if panel["type"] == "row":
            figure.text(0.012, top - 0.75 / rows, panel["title"], color=theme.text, fontsize=10.5)
            continue
        height = at["h"] / rows
        box = (left + 0.004, top - height + 0.1 / rows, width - 0.008, height - 0.2 / rows)
        figure.patches.append(
            mpl.patches.Rectangle(
                box[:2], box[2], box[3], transform=figure.transFigure, facecolor=theme.panel, zorder=-1
            )
        )
        title_at = (box[0] + 0.006, box[1] + box[3] - 0.62 / rows)
        figure.text(*title_at, panel["title"], color=theme.text, fontsize=8.5, fontweight="bold")
        if panel["type"] == "stat":
            inner = (box[0], box[1], box[2], box[3] - 0.9 / rows)
            draw_stat(figure.add_axes(inner), panel, data[panel["id"]], theme)
            continue
        names = len(data[panel["id"]])
        legend = 0.53 * math.ceil(names / 2 if names > 3 else names) + 0.9
        inner = (box[0] + 0.036, box[1] + legend / rows, box[2] - 0.044, box[3] - (legend + 0.85) / rows)
        draw_panel(figure.add_axes(inner), panel, data[panel["id"]], theme)
    figure.savefig(out, facecolor=theme.page)


def scrape_config(pods: Mapping[str, str], token: Path | None) -> dict[str, Any]:
    """Return a configuration that scrapes each pod with the labels a cluster would give it."""
    jobs = []
    for number, (name, url) in enumerate(pods.items()):
        parts = urllib.parse.urlsplit(url)
        labels = {"pod_name": name, "namespace": "hopsworks", "node": f"node-{number}"}
        job: dict[str, Any] = {
            "job_name": f"pod-{number}",
            "scheme": parts.scheme,
            "metrics_path": parts.path or "/metrics",
            "static_configs": [{"targets": [parts.netloc], "labels": labels}],
        }
        if token is not None:
            job["authorization"] = {"credentials_file": str(token.resolve())}
        jobs.append(job)
    return {"global": {"scrape_interval": f"{SCRAPE_INTERVAL:g}s"}, "scrape_configs": jobs}


def main(arguments: Sequence[str] | None = None) -> int:
    """Scrape, query, draw; status 1 when a query had no answer."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--pod", action="append", default=[], metavar="NAME=URL", help="a pod's /metrics")
    parser.add_argument("--invented", action="store_true", help="draw two made-up pods")
    parser.add_argument("--token-file", type=Path, help="bearer token of the admin listeners")
    parser.add_argument("--seconds", type=float, default=120, help="how long to scrape before drawing")
    parser.add_argument("--out", type=Path, default=Path("docs/pictures"), help="folder of the pictures")
    options = parser.parse_args(arguments)

    document = queries.read(hopsworks.JSON_FILE)
    with contextlib.ExitStack() as stack:
        pods = dict(one.split("=", 1) for one in options.pod)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        note = "drawn from Prometheus' answers"
        if not pods and not options.invented:
            note += ", two real pods under load"
            pods = stack.enter_context(rehearsal.pods(folder, options.seconds))
        elif not pods:
            note += ", invented load"
            for name, peak, phase in (("6f7d9c8b5-x2kqp", 620, 0.0), ("6f7d9c8b5-m8r4t", 330, 0.15)):
                url = stack.enter_context(sample_pod.serving(sample_pod.SamplePod(peak, phase)))
                pods[f"hopsworks-instance-{name}"] = url
        configuration = scrape_config(pods, options.token_file)
        server = stack.enter_context(local_prometheus.running(folder, configuration))
        begun = time.time()
        # Not waiting for something to happen: the length of the scrape is what was asked for.
        time.sleep(options.seconds)
        end = time.time()
        data: dict[int, list[Series]] = {panel["id"]: [] for panel in queries.panels(document)}
        silent = []
        for query in queries.queries(document):
            series = answered(server, query, begun + SCRAPE_INTERVAL, end)
            if not series:
                silent.append(f"{query.panel['title']}: {query.expression}")
            data[query.panel["id"]] += series
    options.out.mkdir(parents=True, exist_ok=True)
    note += f", {datetime.now(tz=UTC):%Y-%m-%d}"
    for name, theme in THEMES.items():
        out = options.out / f"dashboard-{name}.png"
        draw(document, data, theme, note, out)
        print(out)
    for line in silent:
        print(f"no data: {line}", file=sys.stderr)
    return 1 if silent else 0


if __name__ == "__main__":
    sys.exit(main())
