"""What the tests ask for is what scripts/install-parts installs."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.parts import ROOT

PACKAGE = {"promtool": "prometheus", "ip": "iproute2", "ss": "iproute2", "kubectl": "helm"}
"""The part that brings a command of another name."""

ASKED = sorted(
    {
        name
        for path in (ROOT / "tests").rglob("*.py")
        for name in re.findall(r'\brequire\("([a-z]+)"\)', path.read_text(encoding="utf-8"))
    }
)


def test_the_tests_ask_for_parts() -> None:
    assert {"nginx", "haproxy", "jupyter", "promtool"} <= set(ASKED)


@pytest.mark.parametrize("name", ASKED)
def test_a_part_that_tests_ask_for_can_be_installed(name: str) -> None:
    # A missing part fails the run in CI, and it is told to run this script.
    done = subprocess.run(
        ["bash", "scripts/install-parts", "--check", PACKAGE.get(name, name)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in {0, 1}, done.stderr


@pytest.mark.parametrize(
    ("commands", "why"),
    [
        ({}, "no apt-get here"),
        ({"apt-get": "exit 0", "id": "echo 1000"}, "no sudo here"),
        ({"apt-get": "exit 100", "id": "echo 0"}, ""),
    ],
    ids=["another distribution", "an ordinary user", "nothing is to be had"],
)
def test_what_cannot_be_installed_is_named_and_leaves_the_rest_to_be(
    commands: dict[str, str], why: str, tmp_path: Path
) -> None:
    # `make test` goes on after it, so what can be had must be there: here the environment that Python makes.
    path, script = tmp_path / "bin", tmp_path / "scripts/install-parts"
    path.mkdir()
    script.parent.mkdir()
    shutil.copy(ROOT / "scripts/install-parts", script)
    for name in ("bash", "cat", "chmod", "dirname", "env", "mkdir", "rm"):
        (path / name).symlink_to(str(shutil.which(name)))
    venv = 'mkdir -p "$3/bin"; echo exit >"$3/bin/python"; chmod +x "$3/bin/python"'
    for name, does in {**commands, "python3": venv}.items():
        (path / name).write_text(f"#!/usr/bin/env bash\n{does}\n")
        (path / name).chmod(0o755)
    done = subprocess.run(
        [script, "valgrind", "streamlit", "helm"],
        env={"PATH": str(path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert why in done.stderr
    assert done.stderr.splitlines()[-1] == "install-parts: not installed: valgrind npm unzip helm"
    assert (tmp_path / "build/parts/streamlit/.made").exists()
