"""What the image is made from: pinned dependencies that both architectures have, and the chart's user.

That it builds, serves under the chart's restrictions and is small is shown by tests/docs/test_image.py.
"""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.support.parts import ROOT

SCRIPTS = ROOT / "scripts" / "container"
RUNTIME = ROOT / "requirements" / "runtime.txt"
CONTAINERFILE = (ROOT / "Containerfile").read_text(encoding="utf-8")


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", re.split(r"[^A-Za-z0-9._-]", name)[0]).lower()


def test_every_dependency_is_pinned_with_its_digest() -> None:
    text = RUNTIME.read_text(encoding="utf-8")
    pinned = {normalised(line) for line in text.splitlines() if re.match("[a-z]", line)}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert {normalised(one) for one in project["dependencies"]} <= pinned, "run: make lock"
    assert all("==" in line for line in text.splitlines() if re.match("[a-z]", line))
    assert text.count("--hash=sha256:") >= len(pinned)


def test_the_tools_that_build_it_are_pinned_as_well() -> None:
    script = (SCRIPTS / "build").read_text(encoding="utf-8")
    installs = [line for line in script.splitlines() if re.search(r"pip\" install|^\$pip ", line)]
    assert [line for line in installs if "--require-hashes" not in line] == [
        '$pip --no-deps "$work"/wheels/*.whl'
    ]
    assert len(installs) == 3
    assert "COPY requirements/build.txt requirements/runtime.txt requirements/\n" in CONTAINERFILE
    pinned = (ROOT / "requirements/build.txt").read_text(encoding="utf-8")
    names = {normalised(line) for line in pinned.splitlines() if re.match("[a-z]", line)}
    system = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["build-system"]
    assert {normalised(one) for one in system["requires"]} <= names, "run: make lock"


def test_the_containerfile_runs_the_scripts_and_nothing_of_its_own() -> None:
    for name in ("build", "slim", "verify"):
        assert f"scripts/container/{name}" in CONTAINERFILE
    assert "pip" not in CONTAINERFILE


def test_the_image_is_not_root_and_matches_the_chart() -> None:
    deployment = (ROOT / "charts/bascule/templates/deployment.yaml").read_text(encoding="utf-8")
    user = re.search(r"^USER (\d+):(\d+)$", CONTAINERFILE, re.MULTILINE)
    assert user
    assert int(user[1]) > 0
    values = (ROOT / "charts/bascule/values.yaml").read_text(encoding="utf-8")
    assert user[1] == user[2]
    assert f"\nrunAsUser: {user[1]}\n" in values
    assert "args: [serve, --config, /etc/bascule/config/config.yaml]" in deployment
    assert 'CMD ["serve", "--config", "/etc/bascule/config.yaml"]' in CONTAINERFILE


@pytest.mark.real
@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_every_pinned_dependency_has_a_wheel_for_both_architectures(machine: str, tmp_path: Path) -> None:
    version = re.search(r"^ARG PYTHON=(3\.[0-9]+)-slim-bookworm$", CONTAINERFILE, re.MULTILINE)
    assert version
    # Debian 12 has glibc 2.36.
    platforms = [f"--platform=manylinux_2_{minor}_{machine}" for minor in (36, 34, 28, 17)]
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"),
            *(*platforms, f"--platform=manylinux2014_{machine}", f"--python-version={version[1]}"),
            *("--only-binary=:all:", "--require-hashes", "--no-deps"),
            *("-r", str(RUNTIME), "-d", str(tmp_path)),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    compiled = [path.name for path in tmp_path.glob("*.whl") if not path.name.endswith("-any.whl")]
    assert compiled
    assert all(machine in name for name in compiled)
