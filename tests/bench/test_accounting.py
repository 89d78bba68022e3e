"""Processor time and memory are read for the right processes."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench import accounting

BUSY = "end = __import__('time').process_time() + 0.05\nwhile __import__('time').process_time() < end: pass\n"


def test_time_of_a_thread_that_has_ended_is_counted() -> None:
    """schedstat alone would forget it."""
    program = (
        f"import threading\ndef work():\n{''.join('    ' + line + chr(10) for line in BUSY.splitlines())}"
    )
    program += "t = threading.Thread(target=work); t.start(); t.join(); print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert accounting.processor_ns(child.pid) >= 50_000_000
        child.kill()


def test_own_time_agrees_with_the_interpreters_clock() -> None:
    """It lies between two readings of that."""
    before = time.process_time_ns()
    read = accounting.processor_ns(os.getpid())
    assert before <= read <= time.process_time_ns()


def test_descendants_are_found() -> None:
    """A shell's child, and the shell."""
    with subprocess.Popen(["sh", "-c", "sleep 30 & echo $!; wait"], stdout=subprocess.PIPE) as shell:
        assert shell.stdout is not None
        child = int(shell.stdout.readline())
        try:
            assert accounting.descendants(shell.pid) == [shell.pid, child]
        finally:
            os.kill(child, 9)
            shell.kill()


def test_cost_is_the_difference_of_two_readings() -> None:
    """By process, and in sum."""
    before = accounting.Reading(1_000, {1: 10, 2: 20}, 5)
    after = accounting.Reading(1_000_001_000, {1: 1_000_000_010, 2: 500_000_020}, 1_000_000_005)
    cost = after.since(before)
    assert (cost.cpu, cost.wall, cost.waited) == (1.5, 1.0, 1.0)
    assert cost.by_process == {1: 1.0, 2: 0.5}


def test_process_that_ended_meanwhile_makes_no_cost_smaller() -> None:
    """Its clock reads 0, which taken off is less than nothing."""
    before = accounting.Reading(1_000, {1: 10, 2: 20}, 5)
    after = accounting.Reading(2_000, {1: 1_000, 2: 0}, 5)
    with pytest.raises(ProcessLookupError, match=r"\[2\]"):
        after.since(before)


def test_process_that_is_gone_costs_nothing_more() -> None:
    """Its clock cannot be read."""
    with subprocess.Popen(["true"]) as child:
        child.wait()
    assert accounting.processor_ns(child.pid) == 0
    assert accounting.user_memory(child.pid).total == 0
    assert not Path(f"/proc/{child.pid}").exists()
