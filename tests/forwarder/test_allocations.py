"""What the compiled build counts of CPython's allocations; in a process of its own, since it never stops."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.relaying import build_of

PROGRAM = """
from bascule.forwarder._hot import count_allocations

words = memoryview(bytearray(8)).cast("Q")
count_allocations(words, 0)


def counted(size):
    before = words[0]
    kept = bytes(size)
    return words[0] - before


counted(1)
print(counted(SIZE))
"""


@pytest.mark.parametrize("size", [300, 600, 1_000_000], ids=["pymalloc", "beyond pymalloc", "large"])
def test_an_allocation_is_counted_once_whatever_its_size(size: int) -> None:
    build_of("compiled")
    program = PROGRAM.replace("SIZE", str(size))
    said = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert size <= int(said.stdout) < size + 200
