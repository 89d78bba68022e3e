"""The channels between a proxy's processes, on which a test can say what none of them would."""

import contextlib
import ctypes
import os
import socket
import subprocess
from collections.abc import Iterator
from typing import Final

from tests.support.parts import missing, require
from tests.support.proctree import links

__all__ = ["channel_between", "have_channel"]

_PIDFD_GETFD: Final = 438
"""The system call's number, the same on all machines; see pidfd_getfd(2)."""


@contextlib.contextmanager
def channel_between(process: int, other: int) -> Iterator[socket.socket]:
    """Have one process's end of its only channel to another, as another descriptor for it."""
    peers = _peers()
    held = _sockets(other)
    (number,) = (number for inode, number in _sockets(process).items() if peers.get(inode) in held)
    with contextlib.ExitStack() as stack:
        pidfd = os.pidfd_open(process)
        stack.callback(os.close, pidfd)
        yield stack.enter_context(_descriptor_of(pidfd, number))


def have_channel(process: int, other: int) -> bool:
    """Tell whether there is a channel between two processes."""
    peers, held = _peers(), _sockets(other)
    return any(peers.get(inode) in held for inode in _sockets(process))


def _sockets(process: int) -> dict[str, int]:
    """Return the descriptors of a process's sockets by their inodes."""
    return {
        name.removeprefix("socket:").strip("[]"): number
        for number, name in links(process).items()
        if name.startswith("socket:")
    }


def _peers() -> dict[str, str]:
    """Return the inode of the other end for that of each end of a channel."""
    listed = subprocess.run([require("ss"), "-xH"], check=True, capture_output=True, text=True)
    rows = (line.split() for line in listed.stdout.splitlines() if line.startswith("u_seq"))
    return {row[5]: row[7] for row in rows}


def _descriptor_of(pidfd: int, number: int) -> socket.socket:
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.syscall(_PIDFD_GETFD, pidfd, number, 0)
    if descriptor < 0:
        missing(f"pidfd_getfd(2): {os.strerror(ctypes.get_errno())}")
    return socket.socket(fileno=descriptor)
