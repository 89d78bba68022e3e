"""What the kernel says of the proxy's connections: with whom, and whether they were ended.

An address is a port of this host, or the path of a Unix socket.
"""

from __future__ import annotations

import os
import socket
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Address", "accepted", "far_inode", "near_end", "unended"]

Address = int | str

_OPEN: Final = ("01", "08")
"""TCP states of a connection that has not been ended at the near end."""

_HEADER: Final = struct.Struct("=IHHII")
_ASK: Final = struct.Struct("=BBHIIIII")
_TOLD: Final = struct.Struct("=BBBBIII")
_ATTRIBUTE: Final = struct.Struct("=HH")
_NETLINK_SOCK_DIAG: Final = 4
_SOCK_DIAG_BY_FAMILY: Final = 20
_REQUEST_DUMP: Final = 0x301
_SHOW_NAME_AND_PEER: Final = 5
_DONE: Final = 3
_NAME, _PEER, _SHUTDOWN = 0, 2, 6


def near_end(connection: socket.socket) -> int:
    """Return by what `accepted` tells whose connection one is: its port, or else its inode."""
    is_unix = connection.family is socket.AF_UNIX
    return os.fstat(connection.fileno()).st_ino if is_unix else int(connection.getsockname()[1])


def accepted(address: Address) -> dict[int, int]:
    """Return connections that were accepted at an address: inode → the far end, as `near_end` has it.

    A Unix connection is not among them once the far end is closed.
    """
    if isinstance(address, str):
        return {inode: far for inode, far, _ in _unix(address) if far}
    return {inode: far for inode, near, far, _ in _tcp() if near == address and far}


def far_inode(address: Address, connection: socket.socket) -> int:
    """Return the inode of the other end of a connection to an address; 0 once either end is closed."""
    near = near_end(connection)
    return next((inode for inode, far in accepted(address).items() if far == near), 0)


def unended(address: Address) -> int:
    """Return how many connections to an address have not been ended by who began them."""
    if isinstance(address, str):
        return sum(bool(far and not shut & 1) for _, far, shut in _unix(address))
    return sum(far == address and state in _OPEN for _, _, far, state in _tcp())


def _tcp() -> Iterator[tuple[int, int, int, str]]:
    """Yield inode, near port, far port and state of each connection."""
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        words = line.split()
        near, far = (int(word.partition(":")[2], 16) for word in words[1:3])
        yield int(words[9]), near, far, words[3]


def _unix(path: str) -> Iterator[tuple[int, int, int]]:
    """Yield inode, far inode and shutdown bits of each connection accepted at a path; see sock_diag(7)."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as asking:
        request = _ASK.pack(socket.AF_UNIX, 0, 0, 1 << 1, 0, _SHOW_NAME_AND_PEER, 0, 0)
        size = _HEADER.size + len(request)
        asking.send(_HEADER.pack(size, _SOCK_DIAG_BY_FAMILY, _REQUEST_DUMP, 0, 0) + request)
        while True:
            answer = asking.recv(1 << 16)
            while answer:
                size, kind, *_ = _HEADER.unpack_from(answer)
                if kind == _DONE:
                    return
                inode = _TOLD.unpack_from(answer, _HEADER.size)[4]
                told = dict(_attributes(answer[_HEADER.size + _TOLD.size : size]))
                if told.get(_NAME, b"").rstrip(b"\0") == path.encode():
                    yield inode, int.from_bytes(told.get(_PEER, b""), "little"), told[_SHUTDOWN][0]
                answer = answer[size:]


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    while data:
        size, kind = _ATTRIBUTE.unpack_from(data)
        yield kind, data[_ATTRIBUTE.size : size]
        data = data[size + 3 & ~3 :]
