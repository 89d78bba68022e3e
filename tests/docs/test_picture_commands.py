"""The commands that draw the pages' pictures and the chart's copies, in a copy of the project."""

from pathlib import Path

import pytest

from tests.docs.claims import claimed
from tests.support.parts import ROOT, require
from tests.support.terminal import Terminal

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]

DRAW, WRITE, CHECK, REHEARSE = sorted(claimed(__name__), key=lambda command: command.text)


PICTURES = "docs/pictures"


def test_the_charts_copies_are_written_as_they_are_committed(terminal: Terminal, project: Path) -> None:
    (project / "charts/bascule/files/dashboard.json").unlink()
    terminal.run(WRITE.text)
    terminal.run(CHECK.text)
    for name in ("values.yaml", "files/dashboard.json", "files/rules.yaml"):
        path = f"charts/bascule/{name}"
        assert (project / path).read_bytes() == (ROOT / path).read_bytes()


def test_the_dashboard_is_drawn_with_data_in_every_panel(terminal: Terminal, project: Path) -> None:
    require("prometheus")
    terminal.run(DRAW.text, seconds=250)
    for theme in ("dark", "light"):
        assert (project / f"build/dashboard-{theme}.png").read_bytes().startswith(b"\x89PNG")


def test_the_rehearsal_is_run_and_its_histogram_drawn(terminal: Terminal, project: Path) -> None:
    for part in ("jupyter", "streamlit", "nginx", "chromium"):
        require(part)
    terminal.run(REHEARSE.text, seconds=280)
    drawn = (project / PICTURES / "drain-histogram.svg").read_text(encoding="utf-8")
    assert "200 light clients" in drawn
    assert drawn != (ROOT / PICTURES / "drain-histogram.svg").read_text(encoding="utf-8")
