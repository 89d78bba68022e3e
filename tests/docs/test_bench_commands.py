"""The commands of the page about benchmarks, one after the other in a copy of the project.

``BENCH_ARGS`` makes the long ones short: one scenario in its smoke size, which means nothing and takes
seconds; what it publishes goes into a folder of its own, as docs/ takes whole runs alone. Root's right to be
served first is given up: other tests run beside these.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.claims import claimed, without_twins
from tests.support.parts import ROOT
from tests.support.terminal import Terminal, open_terminal

pytestmark = [pytest.mark.real, pytest.mark.timeout(500)]

SHORT = "--smoke --only messages --proxies yardstick,bascule"
LONG = {"make bench", "make bench-quick", "python -m bench run --publish"}
PUBLISHES = {"make bench", "python -m bench run --publish"}
PAGE = "docs/explanation/benchmarks.md"
MODEST = ("setpriv", "--bounding-set=-sys_nice", "--inh-caps=-sys_nice")


@pytest.fixture
def terminal(project: Path, tmp_path: Path) -> Iterator[Terminal]:
    under = MODEST if os.geteuid() == 0 else ()
    with open_terminal(tmp_path, at=project, path=(project / ".venv/bin",), under=under) as opened:
        yield opened


def test_every_command_of_the_page_does_what_it_says(terminal: Terminal, project: Path) -> None:
    committed = (ROOT / PAGE).read_bytes()
    elsewhere = project / "build/published"
    for command in without_twins(claimed(__name__)):
        name = command.text.partition("#")[0].strip()
        publishes = name in PUBLISHES
        short = f"{SHORT} --into {elsewhere}" if publishes else SHORT
        terminal.run(f"export BENCH_ARGS='{short if name in LONG else ''}'")
        said = terminal.run(command.text, seconds=300)
        assert "bascule" in said, command
        assert ("raw figures: " in said) == (name in LONG or " run " in name), command
        assert (project / PAGE).read_bytes() == committed, command
        assert elsewhere.exists() == publishes, command
        if publishes:
            page = elsewhere / Path(PAGE).relative_to("docs")
            assert page.read_bytes() != committed, command
            shutil.rmtree(elsewhere)
