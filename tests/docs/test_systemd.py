"""The unit file of the page starts what there is, and systemd gives it the time it needs.

The commands are typed on a host that is this one with an /etc of its own, where no systemd runs.
"""

import os
import shutil
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path

import pytest

from bascule.configuration.config import Config
from bascule.handover.descriptors import DESCRIPTORS_PER_SESSION, SPARE_DESCRIPTORS
from tests.docs.claims import claimed
from tests.support.pages import fenced
from tests.support.parts import ROOT
from tests.support.terminal import open_terminal

UNIT = fenced("docs/howto/systemd.md", "ini")
PROGRAM = "/opt/bascule/.venv/bin/bascule"
LONGEST_END = 4
"""Seconds after `drain.timeout` in which the supervisor kills what hangs."""


@pytest.fixture
def service() -> dict[str, str]:
    parser = ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read_string(UNIT)
    return dict(parser["Service"])


def test_a_stop_has_the_time_for_a_drain(service: dict[str, str]) -> None:
    assert int(service["TimeoutStopSec"]) > Config(routes=()).drain.timeout + LONGEST_END


def test_the_limit_of_open_files_fits_the_cap_in_a_single_forwarder(service: dict[str, str]) -> None:
    cap = Config(routes=()).websocket_proxy.max_sessions_per_app
    assert int(service["LimitNOFILE"]) > cap * DESCRIPTORS_PER_SESSION + SPARE_DESCRIPTORS


def test_the_program_knows_the_arguments_and_the_status_that_is_final(
    service: dict[str, str], tmp_path: Path
) -> None:
    program, *arguments = service["ExecStart"].split()
    assert program == PROGRAM
    assert arguments == ["serve", "--config", "/etc/bascule/bascule.yaml"]
    file = tmp_path / "bascule.yaml"
    file.write_text("lissen: :8080\n")
    done = subprocess.run(
        [sys.executable, "-m", "bascule", *arguments[:-1], str(file)], capture_output=True, check=False
    )
    assert done.returncode == int(service["RestartPreventExitStatus"])


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze here")
def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path: Path) -> None:
    unit = tmp_path / "bascule.service"
    unit.write_text(UNIT.replace(PROGRAM, sys.executable))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


ITS_OWN_ETC = 'mount --bind "$0" /etc && exec "$@"'


@pytest.mark.skipif(
    os.geteuid() != 0 or not all(map(shutil.which, ("useradd", "systemctl", "unshare"))),
    reason="there is no root, useradd or systemctl here",
)
def test_the_commands_leave_a_service_that_starts_with_the_host(tmp_path: Path) -> None:
    etc = tmp_path / "etc"
    etc.mkdir()
    # Other jobs' networks come and go.
    whole = [each for each in Path("/etc").iterdir() if each.name != "netns"]
    subprocess.run(["cp", "-a", *whole, etc], check=True)
    under = ("unshare", "--mount", "sh", "-c", ITS_OWN_ETC, str(etc))
    with open_terminal(tmp_path, at=ROOT, env={"SYSTEMD_OFFLINE": "1"}, under=under) as terminal:
        terminal.run(f"cat >/etc/systemd/system/bascule.service <<'.'\n{UNIT}.")
        for command in claimed(__name__):
            terminal.run(command.text)
        assert terminal.run("stat -c '%U %G %a' /etc/bascule/bascule.yaml") == "root bascule 640\n"
        assert terminal.run("id -gn bascule") == "bascule\n"
    assert (etc / "systemd/system/multi-user.target.wants/bascule.service").is_symlink()
