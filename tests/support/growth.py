"""How what something costs grows with its input: time by the processor's own clock, and memory."""

import time
import tracemalloc
from collections.abc import Callable
from typing import Final

__all__ = ["assert_linear", "least", "most_held"]

_TIMES: Final = 16
_SLACK: Final = 4
"""What is linear costs 16 times as much for 16 times the input, what is quadratic 256 times."""


def assert_linear(work: Callable[[bytes], object], piece: bytes, count: int) -> None:
    """Fail if ``count`` pieces cost far more than their share of a sixteenth of them."""
    few, many = (least(work, piece * number) for number in (count // _TIMES, count))
    assert many < few * _TIMES * _SLACK, f"{few * 1e6:.0f} µs became {many * 1e6:.0f}"


def least(work: Callable[[bytes], object], data: bytes) -> float:
    """Return the seconds of the quickest of five runs."""
    found = []
    for _ in range(5):
        begun = time.thread_time()
        work(data)
        found.append(time.thread_time() - begun)
    return min(found)


def most_held(work: Callable[[], object]) -> int:
    """Return the most bytes that were allocated and not yet freed while something worked."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
