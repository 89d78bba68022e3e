"""Whoever writes the journal of JupyterHub's routes may be killed at any instruction."""

from __future__ import annotations

import os
import subprocess
import sys

from bascule.handover.journal import Journal
from tests.support.waiting import eventually

KILLS = 30
LINES = 4000
"""Of each generation; with their 308 bytes a rewrite takes more than a millisecond."""

WRITER = f"""\
import sys
from bascule.handover.journal import Journal
journal, number = Journal(int(sys.argv[1])), int(sys.argv[2])
while True:
    number += 1
    journal.replace(b"%08d" % number + b"." * 300 for _ in range({LINES}))
    for _ in range(3):
        journal.append(b"%08d" % number + b"+" * 30000)
"""


class Later:
    """Tells whether a generation is over."""

    def __init__(self, journal: Journal, number: int) -> None:
        self._journal = journal
        self._number = number

    def __call__(self) -> bool:
        start, end = self._journal._bounds()
        # Not what is written there and does not count yet: the first generation begins where the lines will.
        begin = os.pread(self._journal.descriptor, min(8, end - start), start)
        return begin.isdigit() and int(begin) > self._number  # it may be written over while it is read


def test_whoever_is_killed_while_it_writes_leaves_whole_lines_of_one_generation() -> None:
    journal = Journal.create("test-journal")

    number = 0
    for kills in range(KILLS):
        writer = [sys.executable, "-c", WRITER, str(journal.descriptor), str(number)]
        with subprocess.Popen(writer, pass_fds=(journal.descriptor,)) as child:
            # At another moment of what it does each time, as far as a look takes another time.
            eventually(Later(journal, number + kills % 3), 20, "it writes")
            child.kill()

        lines = journal.lines()
        number = int(lines[0][:8])
        small, large = lines[:LINES], lines[LINES:]
        assert small == [b"%08d" % number + b"." * 300] * LINES
        assert large == [b"%08d" % number + b"+" * 30000] * len(large)
        assert len(large) <= 3
        # What is dropped is given back: two generations and what was appended to them is all it holds.
        assert os.fstat(journal.descriptor).st_size < 4_500_000
