"""The journal of JupyterHub's routes while whoever writes it is killed, at whatever instruction."""

from __future__ import annotations

import os
import random
import signal
import time

from bascule.handover.journal import Journal

_KILLS = 40
_LINES = 4000
"""More than a mebibyte of lines: a rewriting is many pages, and takes long enough to be hit."""


def write_for_ever(journal: Journal, number: int) -> None:
    """Write the same number into all lines, then the next one; half a generation is never to be seen."""
    while True:
        number += 1
        journal.replace(b"%08d" % number + b"." * 300 for _ in range(_LINES))
        for _ in range(3):
            journal.append(b"%08d" % number + b"+" * 30000)


def test_whoever_is_killed_while_it_writes_leaves_whole_lines_of_one_generation() -> None:
    journal = Journal.create("test-journal")
    seen = set()
    number = 0
    for _ in range(_KILLS):
        if (child := os.fork()) == 0:
            try:
                write_for_ever(journal, number)
            finally:
                os._exit(1)
        time.sleep(random.uniform(0.005, 0.05))
        os.kill(child, signal.SIGKILL)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL

        lines = journal.lines()
        if lines:  # else the first one was killed before it had written anything
            number = int(lines[0][:8])
            small, large = lines[:_LINES], lines[_LINES:]
            assert small == [b"%08d" % number + b"." * 300] * _LINES
            assert large == [b"%08d" % number + b"+" * 30000] * len(large)
            assert len(large) <= 3
        seen.add(number)
        # What is dropped is given back: two generations and what was appended to them is all it holds.
        assert os.fstat(journal.descriptor).st_size < 4_500_000
    assert len(seen) > _KILLS / 4
    os.close(journal.descriptor)
