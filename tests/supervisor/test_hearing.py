"""What the supervisor hears: in a process of its own, for handlers are a whole process's."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

SCRIPT = """
import select, signal
{before}
from bascule.supervisor.hearing import Hearing
hearing = Hearing()
print("hears", flush=True)
heard = []
while signal.SIGTERM not in heard:
    select.select([hearing.wake], [], [])
    heard += hearing.take()
print(*heard, flush=True)
"""


def heard_of(sent: list[signal.Signals], before: str = "") -> list[int]:
    """Return what a process heard that was sent signals, one after the other, and then SIGTERM."""
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT.format(before=before)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "hears\n"
        for number in (*sent, signal.SIGTERM):
            process.send_signal(number)
        said = process.stdout.readline()
        assert process.wait(10) == 0
    return [int(number) for number in said.split()]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2])
def test_each_signal_with_a_meaning_is_heard_and_ends_nothing(number: signal.Signals) -> None:
    assert sorted(heard_of([number])) == sorted([number, signal.SIGTERM])


def test_a_hang_up_that_nohup_has_ignored_is_not_heard() -> None:
    assert heard_of([signal.SIGHUP], "signal.signal(signal.SIGHUP, signal.SIG_IGN)") == [signal.SIGTERM]


def test_an_interrupt_that_a_script_has_ignored_is_heard() -> None:
    before = "signal.signal(signal.SIGINT, signal.SIG_IGN)"
    assert signal.SIGINT in heard_of([signal.SIGINT], before)
