"""What Python itself would print has the form of the log."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from bascule.telemetry import strays

if TYPE_CHECKING:
    from collections.abc import Iterator

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


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Any]]]:
    """Let this process log its own strays; collects what is said of them."""
    found: list[dict[str, Any]] = []

    class Log:
        @staticmethod
        def error(event: str, **values: Any) -> None:
            found.append({"event": event, **values})

    for module, name in ((sys, "excepthook"), (sys, "unraisablehook"), (threading, "excepthook")):
        monkeypatch.setattr(module, name, getattr(module, name))
    monkeypatch.setattr(strays, "_log", Log)
    strays.log_strays()
    yield found
    logging.captureWarnings(capture=False)


def test_what_is_said_of_an_exception_is_its_place_and_not_what_was_there(said: list[dict[str, Any]]) -> None:
    error = ValueError("wrong")
    sys.excepthook(ValueError, error, None)
    sys.unraisablehook(stray(error, ["what a peer sent"]))
    threading.excepthook(threading.ExceptHookArgs((ValueError, None, None, threading.current_thread())))
    assert [line.get("where") for line in said] == [
        None,
        "list",
        type(threading.current_thread()).__qualname__,
    ]
    assert [str(line["exc_info"][1]) for line in said] == ["wrong", "wrong", ""]


def test_nothing_is_said_of_an_end_that_was_asked_for(said: list[dict[str, Any]]) -> None:
    sys.excepthook(KeyboardInterrupt, KeyboardInterrupt(), None)
    threading.excepthook(threading.ExceptHookArgs((SystemExit, SystemExit(), None, None)))
    assert said == []


def stray(error: BaseException, where: object) -> Any:
    """Return what Python tells of an exception that nobody can catch."""
    return SimpleNamespace(
        exc_type=type(error), exc_value=error, exc_traceback=None, err_msg=None, object=where
    )
