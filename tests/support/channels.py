"""The channels between a proxy's processes, on which a test can say what none of them would."""

import contextlib
import ctypes
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.support.parts import missing

__all__ = ["latest_channel"]

_PIDFD_GETFD: Final = 438
"""The system call's number, the same on all machines; see pidfd_getfd(2)."""


@contextlib.contextmanager
def latest_channel(process: int) -> Iterator[socket.socket]:
    """Have a process's end of the channel that it got last, as another descriptor for it."""
    channels: list[socket.socket] = []
    with contextlib.ExitStack() as stack:
        pidfd = os.pidfd_open(process)
        stack.callback(os.close, pidfd)
        for number in map(int, os.listdir(f"/proc/{process}/fd")):
            with contextlib.suppress(FileNotFoundError):
                if Path(f"/proc/{process}/fd/{number}").readlink().name.startswith("socket:"):
                    found = stack.enter_context(_descriptor_of(pidfd, number))
                    if found.type == socket.SOCK_SEQPACKET:
                        channels.append(found)
        assert len(channels) > 1, "beside the one to the supervisor"
        # A child inherits its first channel under a high number; the kernel counts sockets as they are made.
        yield max(channels, key=lambda channel: os.fstat(channel.fileno()).st_ino)


def _descriptor_of(pidfd: int, number: int) -> socket.socket:
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.syscall(_PIDFD_GETFD, pidfd, number, 0)
    if descriptor < 0:
        missing(f"pidfd_getfd(2): {os.strerror(ctypes.get_errno())}")
    return socket.socket(fileno=descriptor)
