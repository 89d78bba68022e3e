"""What Python itself would print has the form of the log."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

BEGIN = """
import os, threading, warnings
from bascule.telemetry.logs import configure
from bascule.telemetry.strays import log_strays
configure("warning", "json", process="gateway")
log_strays()
"""

UNRAISABLE = """
class Broken:
    def __del__(self):
        raise ValueError("wrong")
Broken()
"""

IN_A_THREAD = """
def fail():
    raise ValueError("wrong")
one = threading.Thread(target=fail)
one.start()
one.join()
"""

NEVER_AWAITED = """
async def work():
    pass
work()
"""


def printed(code: str) -> tuple[int, str]:
    """Run code in a process; return its status and all that it wrote to either stream."""
    done = subprocess.run(
        [sys.executable, "-c", BEGIN + code], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    return done.returncode, done.stdout


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize(
    ("code", "status", "where"),
    [
        ("raise ValueError('wrong')", 1, None),
        (UNRAISABLE, 0, "Broken.__del__"),
        (IN_A_THREAD, 0, "Thread"),
    ],
    ids=["that ends the process", "of a finalizer", "of a thread"],
)
def test_an_exception_is_a_line(code: str, status: int, where: str | None) -> None:
    ended, text = printed(code)
    assert ended == status
    (line,) = lines(text)
    assert line["event"] == "internal error"
    assert line["level"] == "error"
    assert line["exception"].endswith("ValueError: wrong")
    assert line.get("where") == where


def test_a_warning_is_a_line() -> None:
    _, text = printed(NEVER_AWAITED)
    (line,) = lines(text)
    assert line["level"] == "warning"
    assert "was never awaited" in line["event"]


@pytest.mark.parametrize("code", ["raise SystemExit(3)", "raise KeyboardInterrupt"])
def test_an_end_that_was_asked_for_is_none(code: str) -> None:
    status, text = printed(code)
    assert status in (3, -2)
    assert '"event"' not in text


def test_a_thread_that_ends_itself_is_none() -> None:
    assert printed(IN_A_THREAD.replace('ValueError("wrong")', "SystemExit")) == (0, "")
