"""The image's steps, run in an empty environment: no container engine is needed for them.

What is not shown here: that the base image exists and that the layers assemble. What is:
that the scripts build, shrink and verify an installation that serves from an unwritable
prefix, with the dependencies that were pinned, and that those can be had for both
architectures.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import urllib.request
from pathlib import Path

import pytest
from dashboards.local_prometheus import poll

from tests.support.parts import ROOT, missing

SCRIPTS = ROOT / "scripts" / "container"
CONTAINERFILE = (ROOT / "Containerfile").read_text(encoding="utf-8")


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", re.split(r"[^A-Za-z0-9._-]", name)[0]).lower()


def test_every_dependency_is_pinned_with_its_digest() -> None:
    text = (SCRIPTS / "requirements.txt").read_text(encoding="utf-8")
    pinned = {normalised(line) for line in text.splitlines() if re.match("[a-z]", line)}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert {normalised(one) for one in project["dependencies"]} <= pinned, "run scripts/container/lock"
    assert all("==" in line for line in text.splitlines() if re.match("[a-z]", line))
    assert text.count("--hash=sha256:") >= len(pinned)


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
    assert "args: [serve, --config, /etc/bascule/config.yaml]" in deployment
    assert 'CMD ["serve", "--config", "/etc/bascule/config.yaml"]' in CONTAINERFILE


@pytest.mark.real
@pytest.mark.slow
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
            *("-r", str(SCRIPTS / "requirements.txt"), "-d", str(tmp_path)),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    compiled = [path.name for path in tmp_path.glob("*.whl") if not path.name.endswith("-any.whl")]
    assert compiled
    assert all(machine in name for name in compiled)


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_steps_give_a_proxy_that_serves_from_a_read_only_prefix(tmp_path: Path) -> None:
    if not (shutil.which("cc") and (Path(sysconfig.get_path("include")) / "Python.h").exists()):
        missing("no C compiler with Python's headers: scripts/install-parts compiler")
    prefix, home = tmp_path / "opt", tmp_path / "home"
    home.mkdir()
    clean = {"PATH": "/usr/bin:/bin", "HOME": str(home)}
    # How pip reaches an index is this host's business, not the image's.
    clean |= {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    base = Path(sys.base_prefix) / "bin" / "python3"
    for step in ([SCRIPTS / "build", ROOT, prefix, base], [SCRIPTS / "slim", prefix]):
        done = subprocess.run(
            [str(part) for part in step], env=clean, cwd=home, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
    done = subprocess.run(
        [str(SCRIPTS / "verify"), str(prefix)], env={}, cwd=home, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert not (prefix / "bin" / "pip").exists()
    before = sorted(path for path in prefix.rglob("*"))

    config = home / "config.yaml"
    config.write_text(
        "listen: 127.0.0.1:0\nadmin: 127.0.0.1:0\nlog: {format: json}\ndrain: {timeout: 5s}\n"
        'routes: [{name: lab, kind: jupyter, path: /, upstream: "http://127.0.0.1:9"}]\n',
        encoding="utf-8",
    )
    log = home / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [str(prefix / "bin" / "bascule"), "serve", "--config", str(config)],
            env={"PATH": f"{prefix}/bin:/usr/bin:/bin", "HOME": "/tmp", "PYTHONDONTWRITEBYTECODE": "1"},
            cwd="/",
            stdout=output,
            stderr=output,
        )
    try:
        poll(lambda: '"listening"' in log.read_text(), 60, f"listening, see {log}")
        said = next(json.loads(line) for line in log.read_text().splitlines() if '"listening"' in line)
        assert said["hot_path"] == "compiled"
        for path in ("/metrics", "/healthz", "/"):
            with urllib.request.urlopen(f"http://{said['admin']}{path}", timeout=10) as answer:
                assert answer.status == 200, path
    finally:
        process.terminate()
        status = process.wait(30)
    assert status == 0, log.read_text()
    assert sorted(path for path in prefix.rglob("*")) == before
