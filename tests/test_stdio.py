"""Standard streams that were closed before the command began, as some service managers leave them."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from bascule.gateway.setup import PROCESS_NAME
from tests.support.processes import Service, answers, reserve_port
from tests.support.proctree import children

if TYPE_CHECKING:
    from pathlib import Path

BASCULE = (sys.executable, "-m", "bascule")

ASK = """\
import os, sys
from bascule import stdio
stdio.open_closed()
told = [f"{os.readlink(f'/proc/self/fd/{number}')} {os.get_inheritable(number)}" for number in range(3)]
open(sys.argv[1], "w").write("\\n".join(told))
sys.stderr.write("heard by nobody")
"""


def without(closed: str, *command: str) -> list[str]:
    """Return a command line that closes descriptors, as a shell does, and becomes another one."""
    return ["sh", "-c", f'exec "$@" {closed}', "sh", *command]


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&-", "<&- 2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_it_serves_whatever_was_closed(tmp_path: Path, closed: str) -> None:
    admin = reserve_port()
    where = ("--listen", "127.0.0.1:0", "--admin", f"127.0.0.1:{admin}", "--forwarders", "1")
    argv = without(closed, *BASCULE, "serve", "--upstream", "http://127.0.0.1:9", *where)
    service = Service("bascule", argv, tmp_path / "log")
    try:
        service.wait_until(lambda: answers(f"http://127.0.0.1:{admin}/readyz"), 30)
        assert sorted(children(service.pid).values()) == [PROCESS_NAME, "bascule.forwarder"]
    finally:
        assert service.stop(30) == 0, service.said()
    assert "Traceback" not in service.said()


def test_the_null_device_stands_in_for_each_that_was_closed(tmp_path: Path) -> None:
    said = tmp_path / "said"
    done = subprocess.run(without("<&- >&- 2>&-", sys.executable, "-c", ASK, str(said)), check=False)
    assert done.returncode == 0
    assert said.read_text().splitlines() == ["/dev/null True"] * 3


def test_one_that_is_open_stays_what_it_is(tmp_path: Path) -> None:
    said, log = tmp_path / "said", tmp_path / "log"
    with log.open("w") as output:
        subprocess.run(without("<&-", sys.executable, "-c", ASK, str(said)), stderr=output, check=True)
    assert log.read_text() == "heard by nobody"
    assert said.read_text().splitlines()[2].startswith(str(log))


def test_a_document_for_a_closed_output_is_one_line() -> None:
    argv = without(">&-", *BASCULE, "config", "schema")
    done = subprocess.run(argv, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (1, "Error: cannot write: Bad file descriptor\n")
