"""The end of a terminal stops what runs on it; a service has none, and loads its configuration again."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

from tests.support.waiting import eventually

if TYPE_CHECKING:
    from pathlib import Path

ASK = "import sys; from bascule.supervisor import terminal; sys.exit(terminal.is_there())"


def _run_on(secondary: int, *command: str, log: int | None = None) -> subprocess.Popen[bytes]:
    """Start a command whose controlling terminal this is: setsid(1) with ``--ctty`` takes its input's."""
    return subprocess.Popen(["setsid", "--ctty", "--wait", *command], stdin=secondary, stderr=log)


def test_a_service_has_no_terminal() -> None:
    done = subprocess.run([sys.executable, "-c", ASK], start_new_session=True, check=False)
    assert done.returncode == 0


def test_a_program_on_a_terminal_has_one() -> None:
    primary, secondary = pty.openpty()
    try:
        assert _run_on(secondary, sys.executable, "-c", ASK).wait(20) == 1
    finally:
        os.close(primary)
        os.close(secondary)


def test_a_terminal_that_is_closed_stops_the_proxy_on_it(tmp_path: Path) -> None:
    primary, secondary = pty.openpty()
    log = tmp_path / "log"
    upstream = ["--upstream", "http://127.0.0.1:9", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]
    with log.open("wb") as output:
        process = _run_on(secondary, sys.executable, "-m", "bascule", "serve", *upstream, log=output.fileno())
    try:
        os.close(secondary)
        eventually(lambda: b'"listening"' in log.read_bytes(), 30, "it serves")
        os.close(primary)
        assert process.wait(20) == 0
    finally:
        process.kill()
    assert b'"signal":"SIGHUP"' in log.read_bytes()


def test_nohup_is_heeded(tmp_path: Path) -> None:
    log = tmp_path / "log"
    upstream = ["--upstream", "http://127.0.0.1:9", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["nohup", sys.executable, "-m", "bascule", "serve", *upstream],
            stdin=subprocess.DEVNULL, stdout=output, stderr=output,
        )  # fmt: skip
    try:
        eventually(lambda: b'"listening"' in log.read_bytes(), 30, "it serves")
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGUSR1)
        eventually(lambda: b'"signal ignored"' in log.read_bytes(), 10, "it has heard the second one")
        assert b"reload" not in log.read_bytes()
        process.terminate()
        assert process.wait(20) == 0
    finally:
        process.kill()
