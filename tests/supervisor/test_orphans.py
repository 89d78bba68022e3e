"""What a container leaves to its first process is reaped, and our own children are not taken for that."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

from bascule.supervisor.orphans import Orphans
from tests.support.firstprocess import FirstProcess
from tests.support.proctree import state
from tests.support.waiting import eventually

SCRIPT = """\
import os, signal, subprocess, sys
from bascule.supervisor.orphans import reap

def ended(status):
    pid = os.posix_spawn("/bin/sh", ["sh", "-c", f"exit {status}"], {})
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    return pid

reap([])
"""


def said(script: str) -> str:
    """Return what a process said, for a process has all its children."""
    done = subprocess.run([sys.executable, "-c", SCRIPT + script], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def states(pid: int) -> list[str]:
    """Return the states of a process's children."""
    found = []
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        with contextlib.suppress(OSError):  # reaped meanwhile
            found.append(state(int(child)))
    return found


def test_children_of_others_are_reaped_and_ours_keep_their_exit_status() -> None:
    script = "stranger = ended(3); ours = ended(5); reap([ours]); reap([ours])\n"
    ask = "print(os.waitstatus_to_exitcode(os.waitpid({}, 0)[1]))"
    assert said(script + ask.format("ours")) == "5"
    assert said(f"{script}try: {ask.format('stranger')}\nexcept ChildProcessError: print('none')") == "none"


def test_one_of_ours_that_comes_first_lets_others_wait_until_it_is_taken() -> None:
    script = "ours = ended(5); stranger = ended(3); reap([ours]); os.waitpid(ours, 0); reap([ours])\n"
    script += "try: os.waitpid(stranger, 0)\nexcept ChildProcessError: print('none')"
    assert said(script) == "none"


def test_one_that_lives_is_left_alone() -> None:
    script = "child = subprocess.Popen([sys.executable, '-c', 'input()'], stdin=subprocess.PIPE); reap([])\n"
    assert said(f"{script}child.communicate(b'x'); print(child.returncode)") == "0"


def test_whoever_is_not_the_first_process_reaps_nothing() -> None:
    later: list[float] = []
    Orphans((), lambda seconds, _: later.append(seconds)).run()
    assert later == []


def test_the_first_process_of_a_container_reaps_what_is_left_to_it(tmp_path: Path) -> None:
    where = ("--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--forwarders", "1")
    service = FirstProcess(tmp_path / "log", "serve", "--upstream", "http://127.0.0.1:9", *where)
    try:
        service.wait_until(lambda: '"listening"' in service.said(), 30)
        enter = ["nsenter", "--target", str(service.pid), "--pid"]
        leave = "exec 3<&0; cat <&3 &"
        with subprocess.Popen([*enter, "sh", "-c", leave], stdin=subprocess.PIPE) as parent:
            parent.wait(10)
            eventually(lambda: len(states(service.pid)) == 3, 10, "the orphan is left to it")
        eventually(lambda: len(states(service.pid)) == 2, 10, "the orphan is reaped")
        os.kill(service.pid, signal.SIGTERM)
        assert service.process.wait(30) == 0
    finally:
        service.stop()
    assert "a process died" not in service.said()
