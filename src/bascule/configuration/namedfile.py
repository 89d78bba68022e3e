"""The files that keys of the configuration name: certificates, keys, CAs, tokens.

One rule holds for all: a regular file of at most `MOST_BYTES`. Each is read more than once, by the supervisor
as a check and by every gateway, so what can be read only once is of no use; and a pipe that nobody writes, or
a device that never ends, must neither stop a start nor take all memory.

The configuration itself is not one of them: it may come through a pipe, and has its own bound
(`bascule.configuration.configfile`).
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["ALLOWED", "MOST_BYTES", "check_file", "read_file"]

MOST_BYTES: Final = 4 * 2**20
"""Bytes of the largest file that a key may name: twenty times all CAs of a system, read in milliseconds."""

ALLOWED: Final = f"a regular file of at most {MOST_BYTES >> 20} MiB"
"""What a problem says is allowed."""


def check_file(path: Path) -> None:
    """Check a file without reading it; never waits for a pipe's writer.

    Raises:
        OSError: It cannot be opened, or is not what is allowed; `strerror` says why.
    """
    os.close(_opened(path))


def read_file(path: Path) -> bytes:
    """Return what is in a file.

    Raises:
        OSError: It cannot be read, or is not what is allowed; `strerror` says why.
    """
    with open(_opened(path), "rb") as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:  # it grew, or is a file of /proc, whose size is not told
        raise _too_large()
    return content


def _opened(path: Path) -> int:
    # O_NONBLOCK: opening a pipe would wait for its writer (fifo(7)). Regular files do not heed it.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        found = os.fstat(descriptor)
        if stat.S_ISDIR(found.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "Not a regular file")
        if found.st_size > MOST_BYTES:
            raise _too_large()
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _too_large() -> OSError:
    return OSError(errno.EFBIG, os.strerror(errno.EFBIG))
