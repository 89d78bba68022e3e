"""Rehearse a rolling replacement and draw when the clients came back.

Runs tests/rehearsals/test_rolling_replacement.py, whose checks hold here too: two proxies behind a
real nginx are replaced under real JupyterLab and Streamlit tabs and many light clients. What it
measured becomes a histogram: an SVG that follows the reader's light or dark theme.

Usage: python -m scripts.rehearse [--clients 200] [--data FILE] [--out docs/pictures]
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

TEST: Final = "tests/rehearsals/test_rolling_replacement.py"
WIDTH, HEIGHT = 880, 380
LEFT, RIGHT, TOP, BOTTOM = 56, 24, 100, 64
GAP: Final = 2.0
"""Pixels between two bars."""

STYLE: Final = """
  text { font: 12px system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; fill: #24292f }
  .title { font-size: 16px; font-weight: 600 } .soft { fill: #57606a } .page { fill: #ffffff }
  .grid { stroke: #d0d7de; stroke-width: 1 } .drain { fill: #0969da; opacity: .08 }
  .edge { stroke: #57606a; stroke-width: 1; stroke-dasharray: 2 3 }
  .rate { stroke: #cf222e; stroke-width: 1.5; stroke-dasharray: 6 4 }
  .first { fill: #0969da } .second { fill: #d4791f }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 } .soft { fill: #9198a1 } .page { fill: #0d1117 }
    .grid { stroke: #30363d } .drain { fill: #4493f8; opacity: .13 } .edge { stroke: #9198a1 }
    .rate { stroke: #ff7b72 }
    .first { fill: #4493f8 } .second { fill: #f0a050 }
  }
"""


def rehearse(clients: int, file: Path) -> None:
    """Run the rehearsal; what it measured is in ``file``."""
    subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-s", "-p", "no:randomly", TEST],
        check=True,
        env={
            **os.environ,
            "CI": "true",  # a missing part is an error here, not a skipped test
            "REHEARSAL_DATA": str(file),
            "REHEARSAL_CLIENTS": str(clients),
        },
    )


def by_second(moments: Iterable[float], seconds: int) -> list[int]:
    """Count the moments that lie in each second."""
    counts = [0] * seconds
    for at in moments:
        counts[min(seconds - 1, max(0, int(at)))] += 1
    return counts


def draw(data: dict[str, Any]) -> str:
    """Draw the histogram as SVG."""
    rate, drains = float(data["rate"]), data["drains"]
    names = list(data["reconnects"])
    latest = max(at for moments in data["reconnects"].values() for at in moments)
    seconds = math.ceil(max(latest, *(one["ended"] for one in drains)))
    series = [by_second(data["reconnects"][name], seconds) for name in names]
    top = _round_up(max(rate * 1.25, *(sum(column) for column in zip(*series, strict=True))))
    plot_width, plot_height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def x(second: float) -> float:
        return float(LEFT + plot_width * second / seconds)

    def y(count: float) -> float:
        return float(TOP + plot_height * (1 - count / top))

    total = sum(map(sum, series))
    title = "Reconnects while two proxies are replaced, one after the other"
    says = f"{title}: never much above {rate:g} a second"
    size = f'viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="{says}">',
        f"<style>{STYLE}</style>",
        f'<rect class="page" width="{WIDTH}" height="{HEIGHT}" rx="6"/>',
        _text(LEFT - 32, 32, title, "title"),
        _text(
            LEFT - 32, 54,
            f"{data['clients']} light clients, two JupyterLab tabs and a Streamlit tab behind nginx: "
            f"{total} reconnects, {_most(data)} at most in any second", "soft",
        ),
    ]  # fmt: skip
    for number, one in enumerate(drains):
        left, right = x(one["began"]), x(one["ended"])
        word = ("first", "second", "third")[number]
        parts.append(
            f'<rect class="drain" x="{left:.1f}" y="{TOP - 22}" width="{right - left:.1f}" '
            f'height="{plot_height + 22}"/>'
        )
        parts += [
            f'<line class="edge" x1="{at:.1f}" x2="{at:.1f}" y1="{TOP - 22}" y2="{TOP + plot_height}"/>'
            for at in (left, right)
        ]
        parts.append(_text(left + 6, TOP - 8, f"{word} proxy drains: {one['sessions']} sessions", "soft"))
    for count in _marks(top):
        parts.append(
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(count):.1f}" y2="{y(count):.1f}"/>'
        )
        parts.append(_text(LEFT - 8, y(count) + 4, f"{count:g}", "soft", "end"))
    width = plot_width / seconds - GAP
    for second in range(seconds):
        base = 0
        for counts, colour in zip(series, ("first", "second"), strict=True):
            if counts[second]:
                over, under = y(base + counts[second]), y(base)
                parts.append(
                    f'<rect class="{colour}" x="{x(second) + GAP / 2:.1f}" y="{over:.1f}" '
                    f'width="{width:.1f}" height="{under - over:.1f}"/>'
                )
            base += counts[second]
    parts.append(
        f'<line class="rate" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(rate):.1f}" y2="{y(rate):.1f}"/>'
    )
    every = max(1, math.ceil(seconds / 16))
    parts += [
        _text(x(second), TOP + plot_height + 18, str(second), "soft", "middle")
        for second in range(0, seconds + 1, every)
    ]
    bottom = HEIGHT - 18
    parts.append(_text(WIDTH - RIGHT, bottom, "seconds since the first SIGTERM", "soft", "end"))
    for number, (name, colour) in enumerate(zip(names, ("first", "second"), strict=True)):
        left = LEFT + 130 * number
        parts.append(f'<rect class="{colour}" x="{left}" y="{bottom - 10}" width="11" height="11" rx="2"/>')
        parts.append(_text(left + 18, bottom, name))
    left = LEFT + 130 * len(names)
    parts.append(f'<line class="rate" x1="{left}" x2="{left + 22}" y1="{bottom - 4}" y2="{bottom - 4}"/>')
    parts.append(_text(left + 30, bottom, f"drain.rate, {rate:g} a second"))
    return "\n".join([*parts, "</svg>", ""])


def _most(data: dict[str, Any]) -> int:
    moments: list[float] = [at for found in data["reconnects"].values() for at in found]
    return max(sum(at <= other < at + 1 for other in moments) for at in moments)


def _text(x: float, y: float, words: str, style: str = "", anchor: str = "start") -> str:
    kind = f' class="{style}"' if style else ""
    return f'<text x="{x:.1f}" y="{y:.1f}"{kind} text-anchor="{anchor}">{words}</text>'


def _round_up(count: float) -> int:
    step = _step(count)
    return math.ceil(count / step) * step


def _step(count: float) -> int:
    return next(step for step in (1, 2, 5, 10, 20, 50, 100, 200, 500) if count / step <= 6)


def _marks(top: int) -> Sequence[int]:
    return range(0, top + 1, _step(top))


def main() -> None:
    """Rehearse, or draw what an earlier rehearsal wrote down."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--data", type=Path, help="what an earlier run wrote down, instead of a new one")
    parser.add_argument("--out", type=Path, default=Path("docs/pictures"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        file = arguments.data or Path(home) / "rehearsal.json"
        if not arguments.data:
            rehearse(arguments.clients, file)
        data = json.loads(file.read_text())
    picture = arguments.out / "drain-histogram.svg"
    picture.write_text(draw(data))
    print(f"drew {picture}")


if __name__ == "__main__":
    main()
