"""An event loop that may watch no other descriptor, for want of memory or at the user's limit of watches."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
from typing import TYPE_CHECKING, NoReturn
from unittest import mock

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["no_watch_left"]


def _refuse(*_: object) -> NoReturn:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@contextlib.contextmanager
def no_watch_left() -> Iterator[None]:
    """Let the running loop, which is asyncio's own, watch nothing more for the length of a block."""
    loop = asyncio.get_running_loop()
    with mock.patch.object(loop, "add_reader", _refuse), mock.patch.object(loop, "add_writer", _refuse):
        yield
