"""The extension for JupyterLab is installed, listed and switched off as the page says.

Switching it off writes into the environment, so there is one for this, with the packages of the real one.
"""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.claims import claimed
from tests.support.parts import require
from tests.support.terminal import Terminal, open_terminal

pytestmark = pytest.mark.real

COMMANDS = claimed(__name__)
SCRIPT = "#!{python}\nimport sys\nfrom {module} import main\nsys.exit(main())\n"
PROGRAMS = {"jupyter": "jupyter_core.command", "jupyter-labextension": "jupyterlab.labextensions"}


@pytest.fixture
def terminal(project: Path, tmp_path: Path) -> Iterator[Terminal]:
    """A terminal where ``jupyter`` is one that has never been used."""
    real = require("jupyter").parent.parent
    environment = tmp_path / "environment"
    subprocess.run([real / "bin/python", "-m", "venv", "--without-pip", environment], check=True)
    (packages,) = real.glob("lib/python*/site-packages")
    path = environment / packages.relative_to(real) / "real.pth"
    path.write_text(f"{packages}\n")
    (environment / "share").symlink_to(real / "share")
    for name, module in PROGRAMS.items():
        program = environment / "bin" / name
        program.write_text(SCRIPT.format(python=environment / "bin/python", module=module))
        program.chmod(0o755)
    with open_terminal(tmp_path, at=project, path=(environment / "bin",)) as opened:
        yield opened


def test_the_extension_is_copied_listed_and_disabled(terminal: Terminal) -> None:
    for command in COMMANDS:
        said = terminal.run(command.text)
        if command.text == "jupyter labextension list":
            assert "bascule-badge" in said
            assert "disabled" in said, "the page shows how to switch it off before it asks for the list"
