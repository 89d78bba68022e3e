"""A process of ours that has no descriptor left: this one, for the length of a block."""

from __future__ import annotations

import contextlib
import gc
import os
import resource
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["no_descriptors_left"]


@contextlib.contextmanager
def no_descriptors_left() -> Iterator[None]:
    """Let nothing be opened here: every number below the limit is taken."""
    gc.collect()  # what tests before have left would give some back meanwhile
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(map(int, os.listdir("/proc/self/fd")))
    with contextlib.ExitStack() as undo:
        undo.callback(resource.setrlimit, resource.RLIMIT_NOFILE, before)
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, before[1]))
        with contextlib.suppress(OSError):
            while True:
                undo.callback(os.close, os.open(os.devnull, os.O_RDONLY))
        yield
