"""Networks of a test's own, made of namespaces, which need root on many hosts.

`own_network`: every port is free, so that a command of a page can be run as it is typed. The calling thread
moves into a new namespace with a loopback and nothing else. What it starts there, threads and processes, is
there too; the rest of this process stays where it was.

`own_addresses`: such a network, in which this host has some addresses besides.

`named_network`: another machine, as far as a test can tell; ``ip netns exec NAME`` runs a program there.

Rules of this file: the host's own network stays as it is. An address that comes or goes there makes each
Chromium on the host give up what it is loading (ERR_NETWORK_CHANGED), which fails other jobs' tests.
"""

import contextlib
import ctypes
import os
import subprocess
import uuid
from collections.abc import Iterator
from typing import Final

from tests.support.parts import missing, require

__all__ = ["ip", "named_network", "own_addresses", "own_network"]

_CLONE_NEWNET: Final = 0x40000000
_libc: Final = ctypes.CDLL(None, use_errno=True)


@contextlib.contextmanager
def own_network() -> Iterator[None]:
    """Put this thread on a network of its own."""
    _require_root()
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        if _libc.unshare(_CLONE_NEWNET) != 0:
            missing(f"no network namespaces here: {os.strerror(ctypes.get_errno())}")
        try:
            ip("link", "set", "lo", "up")
            yield
        finally:
            assert _libc.setns(home, _CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
    finally:
        os.close(home)


@contextlib.contextmanager
def own_addresses(*networks: str) -> Iterator[tuple[str, ...]]:
    """Put this thread on a network of its own, with these addresses; return them without their masks."""
    with own_network():
        for each in networks:
            ip("address", "add", each, "dev", "lo", *(("nodad",) if ":" in each else ()))
        yield tuple(each.partition("/")[0] for each in networks)


@contextlib.contextmanager
def named_network() -> Iterator[str]:
    """Make a network that is told by its name; it has nothing, not even a loopback that is up."""
    _require_root()
    name = "b" + uuid.uuid4().hex[:8]
    with contextlib.ExitStack() as undo:
        try:
            ip("netns", "add", name)
            undo.callback(ip, "netns", "del", name)
            ip("-n", name, "link")  # a chroot may make one and not enter it
        except subprocess.CalledProcessError as error:
            missing(f"no network namespaces here: {error.stderr.decode().strip()}")
        yield name


def ip(*words: str) -> None:
    """Run ip(8)."""
    subprocess.run([require("ip"), *words], check=True, capture_output=True)


def _require_root() -> None:
    if os.geteuid() != 0:
        missing("network namespaces need root")
