"""A network of a test's own: every port is free, so that a command of a page can be run as it is typed.

The calling thread moves into a new network namespace with a loopback and nothing else. What it starts
there, threads and processes, is there too; the rest of this process stays where it was.
"""

import contextlib
import ctypes
import os
import subprocess
from collections.abc import Iterator
from typing import Final

from tests.support.parts import missing, require

__all__ = ["own_network"]

_CLONE_NEWNET: Final = 0x40000000
_libc: Final = ctypes.CDLL(None, use_errno=True)


@contextlib.contextmanager
def own_network() -> Iterator[None]:
    """Put this thread on a network of its own. Needs root, as namespaces do on many hosts."""
    ip = require("ip")
    if os.geteuid() != 0:
        missing("network namespaces need root")
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        if _libc.unshare(_CLONE_NEWNET) != 0:
            missing(f"no network namespaces here: {os.strerror(ctypes.get_errno())}")
        try:
            subprocess.run([ip, "link", "set", "lo", "up"], check=True)
            yield
        finally:
            assert _libc.setns(home, _CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
    finally:
        os.close(home)
