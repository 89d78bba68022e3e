"""A copy of a process that has imported all is as good as a command that was started."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from typing import TYPE_CHECKING

import pytest

from bascule._version import __version__
from tests.support.imported import copies_would_differ, start_copy
from tests.support.network import own_network
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.imported import Copy


def begun(folder: Path, *argv: str, **env: str) -> tuple[Copy, Path]:
    log = folder / "log"
    log.touch()
    return start_copy(argv, log, folder, env, folder), log


def test_it_runs_the_command_that_it_is_given(tmp_path: Path) -> None:
    copy, log = begun(tmp_path, "--version")
    assert copy.wait(20) == 0
    assert log.read_text().startswith(f"bascule {__version__} ")


def test_its_build_of_the_hot_path_is_the_one_that_its_environment_names(tmp_path: Path) -> None:
    copy, log = begun(tmp_path, "--version", BASCULE_PURE="1")
    assert copy.wait(20) == 0
    assert "(pure hot path)" in log.read_text()


def test_its_directory_and_environment_are_its_own(tmp_path: Path) -> None:
    (tmp_path / "wrong.yaml").write_text("routs: []\n")
    copy, log = begun(tmp_path, "check", "--config", "wrong.yaml", BASCULE_LISTEN="nowhere")
    assert copy.wait(20) == 2
    assert "wrong.yaml:1: routs: unknown key" in log.read_text()
    assert "BASCULE_LISTEN" in log.read_text()


def test_it_ends_by_the_signal_that_it_is_sent(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        upstream = f"http://127.0.0.1:{taken.getsockname()[1]}"
        options = ("--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--upstream", upstream)
        copy, log = begun(tmp_path, "serve", *options)
        eventually(lambda: "listening" in log.read_text(), 20, "it serves")
        assert copy.poll() is None
        with pytest.raises(subprocess.TimeoutExpired):
            copy.wait(0.01)
        assert os.getpgid(copy.pid) == os.getsid(copy.pid) == copy.pid
        copy.terminate()
        assert copy.wait(20) == 0
        copy.kill()  # nobody, for its number may be somebody else's by now

    copy, log = begun(tmp_path, "serve", *options)
    copy.kill()
    assert copy.wait(20) == -signal.SIGKILL
    assert copy.poll() == copy.returncode == -signal.SIGKILL


@pytest.mark.parametrize(
    ("env", "differs"),
    [({"BASCULE_PURE": "1"}, False), ({"PYTHONDEVMODE": "1"}, True), ({"LC_ALL": "C"}, True)],
)
def test_what_an_interpreter_reads_at_its_start_is_not_for_copies(env: dict[str, str], differs: bool) -> None:
    assert copies_would_differ(env) is differs


def test_a_copy_is_not_made_for_a_network_of_a_tests_own() -> None:
    with own_network():
        assert copies_would_differ({})
    assert not copies_would_differ({})
