"""What the tests ask for is what scripts/install-parts installs."""

import re
import subprocess

import pytest

from tests.support.parts import ROOT

PACKAGE = {"promtool": "prometheus", "ip": "iproute2"}
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
