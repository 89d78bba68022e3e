"""What contributors are told to type, in a copy of the project that shares what is installed.

``make test`` is what runs this very test; here it runs one file of the tests, by ``PYTEST_ARGS``.
"""

import subprocess

import pytest

from tests.docs.claims import claimed, without_twins
from tests.support.pages import Command
from tests.support.parts import ROOT, missing
from tests.support.terminal import Terminal

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]

FEW = "tests/protocol/test_path.py -p no:randomly"


@pytest.mark.parametrize("command", without_twins(claimed(__name__)), ids=str)
def test_a_command_for_contributors_succeeds(command: Command, terminal: Terminal) -> None:
    done = subprocess.run(
        ["scripts/install-parts", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        missing(f"parts are not installed, and no test installs them: {done.stdout}")
    terminal.run(f"export PYTEST_ARGS='{FEW}' PYTEST_JOBS=1")
    said = terminal.run(command.text, seconds=280)
    assert ("passed" in said) == command.text.startswith("make test"), said
    assert terminal.run(".venv/bin/bascule --version").startswith("bascule ")
