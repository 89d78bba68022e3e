"""How many descriptors this process has open, for tests that count them before and after."""

import gc
import os

__all__ = ["open_descriptors"]


def open_descriptors() -> int:
    """Return how many; what the tests before this one left to the cycle collector is closed first.

    Otherwise the collector may close some of it between two counts.
    """
    gc.collect()
    return len(os.listdir("/proc/self/fd"))
