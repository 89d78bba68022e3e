"""What signals the supervisor catches: in a process of its own, for handlers are a whole process's."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

SCRIPT = """
import select, signal
{before}
from bascule.supervisor.caught import CaughtSignals
caught = CaughtSignals()
print("ready", flush=True)
found = []
while signal.SIGTERM not in found:
    select.select([caught.wake], [], [])
    found += caught.take()
print(*found, flush=True)
"""


def caught_of(sent: list[signal.Signals], before: str = "") -> list[int]:
    """Return what a process caught that was sent signals, one after the other, and then SIGTERM."""
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT.format(before=before)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        for number in (*sent, signal.SIGTERM):
            process.send_signal(number)
        said = process.stdout.readline()
        assert process.wait(10) == 0
    return [int(number) for number in said.split()]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2])
def test_each_signal_with_a_meaning_is_caught_and_ends_nothing(number: signal.Signals) -> None:
    assert sorted(caught_of([number])) == sorted([number, signal.SIGTERM])


def test_a_hang_up_that_nohup_has_ignored_is_not_caught() -> None:
    assert caught_of([signal.SIGHUP], "signal.signal(signal.SIGHUP, signal.SIG_IGN)") == [signal.SIGTERM]


def test_an_interrupt_that_a_script_has_ignored_is_caught() -> None:
    before = "signal.signal(signal.SIGINT, signal.SIG_IGN)"
    assert signal.SIGINT in caught_of([signal.SIGINT], before)


def test_what_came_in_before_is_caught_first() -> None:
    before = "from bascule.supervisor import early\nearly.catch()\nsignal.raise_signal(signal.SIGUSR1)"
    assert caught_of([], before) == [signal.SIGUSR1, signal.SIGTERM]


def test_a_hang_up_that_nohup_has_ignored_is_not_kept_either() -> None:
    before = (
        "signal.signal(signal.SIGHUP, signal.SIG_IGN)\nfrom bascule.supervisor import early\nearly.catch()"
    )
    assert caught_of([signal.SIGHUP], before) == [signal.SIGTERM]


def test_the_exit_status_of_a_child_is_known_though_its_signal_was_ignored() -> None:
    before = "signal.signal(signal.SIGCHLD, signal.SIG_IGN)"
    script = SCRIPT.format(before=before).partition("print")[0]
    script += 'import subprocess, sys; sys.exit(subprocess.call(["sh", "-c", "exit 5"]))'
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 5
