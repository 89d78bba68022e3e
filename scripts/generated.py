"""Every file that is generated: the pages of the reference, the dashboard, and what the chart holds in copy.

``python -m scripts.generated`` writes those that are out of date, ``--check`` only names them (status 1).
"""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING, Final

from scripts import charts, close_table, log_reference, metrics_reference, reference

from dashboards import hopsworks

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

COMMAND: Final = "python -m scripts.generated"


def everything() -> Iterator[tuple[Path, str]]:
    """Yield each file with what it should hold; the dashboard before the chart's copy of it."""
    for source in (reference, metrics_reference, close_table, log_reference, hopsworks, charts):
        yield from source.outputs().items()


def main(arguments: list[str], outputs: Iterable[tuple[Path, str]]) -> int:
    """Write the files that are out of date, or name them; returns the exit status."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing")
    check = parser.parse_args(arguments).check
    status = 0
    for path, text in outputs:
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        if check:
            print(f"{os.path.relpath(path)} is out of date: run {COMMAND}", file=sys.stderr)
            status = 1
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            print(f"written: {os.path.relpath(path)}")
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], everything()))
