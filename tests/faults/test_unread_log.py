"""Nobody reads the log any more: a collector hangs, or its disk is full. What is served goes on."""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

import pytest
from websockets.sync.client import connect

from bascule.gateway.setup import PROCESS_NAME
from tests.support.echo import run_echo
from tests.support.proctree import alive, children
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ENOUGH = 60
"""More requests with a line each than a pipe of one page has room for."""


class Logged:
    """A proxy whose log goes into the smallest pipe; the test is its reader."""

    def __init__(self, home: Path, upstream: str) -> None:
        file = home / "bascule.yaml"
        route = {"name": "echo", "path": "/echo/", "upstream": upstream}
        config = {
            "listen": "127.0.0.1:0",
            "admin": "127.0.0.1:0",
            "routes": [route],
            "log": {"level": "debug"},
            "watchdog": "5s",
        }
        file.write_text(json.dumps(config))
        self._log, writing = os.pipe()
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "bascule", "serve", "--config", str(file)], stderr=writing
        )
        os.close(writing)
        self._torn = b""

    def read(self) -> list[bytes]:
        """Wait for more of the log, and return the lines that are whole by now."""
        assert select.select([self._log], [], [], 30)[0], "there is more"
        *lines, self._torn = (self._torn + os.read(self._log, 65536)).split(b"\n")
        return lines

    def read_until(self, event: str) -> dict[str, str]:
        """Read lines up to one with this event, which is returned."""
        until = time.monotonic() + 30
        while time.monotonic() < until:
            for line in self.read():
                if line.startswith(b"{") and json.loads(line)["event"] == event:
                    return dict(json.loads(line))
        raise TimeoutError(event)

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._log)


@pytest.fixture
def logged(tmp_path: Path) -> Iterator[Logged]:
    with run_echo() as upstream:
        proxy = Logged(tmp_path, upstream)
        yield proxy
        proxy.end()


def is_answered(where: str) -> bool:
    """Ask for what leads nowhere, which is a line; tell whether that was answered."""
    try:
        urllib.request.urlopen(f"http://{where}/nowhere", timeout=10)
    except urllib.error.HTTPError as answer:
        with answer:
            return answer.code == 404
    except OSError:
        pass
    return False


def test_what_is_served_goes_on_and_the_log_says_later_what_it_lacks(logged: Logged) -> None:
    where = logged.read_until("listening")["public"]
    with connect(f"ws://{where}/echo/", ping_interval=None) as session:
        assert all(is_answered(where) for _ in range(ENOUGH))
        session.send("still there")
        assert session.recv(timeout=10) == "still there"
    logged.read()
    assert is_answered(where)  # which is the next line
    assert int(logged.read_until("log lines lost")["lines"]) > 0


def test_a_stop_is_no_longer_than_elsewhere(logged: Logged) -> None:
    where = logged.read_until("listening")["public"]
    assert all(is_answered(where) for _ in range(ENOUGH))
    logged.process.send_signal(signal.SIGTERM)
    assert logged.process.wait(20) == 0


def test_a_process_that_hangs_is_replaced_all_the_same(logged: Logged) -> None:
    where = logged.read_until("listening")["public"]
    assert all(is_answered(where) for _ in range(ENOUGH))
    gateway = next(pid for pid, runs in children(logged.process.pid).items() if runs == PROCESS_NAME)
    os.kill(gateway, signal.SIGSTOP)
    eventually(lambda: not alive(gateway), 30, "it is killed")
    eventually(lambda: is_answered(where), 30, "another one answers")
