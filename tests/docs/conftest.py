"""A terminal in a copy of the project, for commands that write into it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.checkout import check_out
from tests.support.terminal import Terminal, open_terminal


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the project."""
    return check_out(tmp_path)


@pytest.fixture
def terminal(project: Path, tmp_path: Path) -> Iterator[Terminal]:
    """A terminal in it, in which ``python`` is that of the developers' tools."""
    with open_terminal(tmp_path, at=project, path=(project / ".venv/bin",)) as opened:
        yield opened
