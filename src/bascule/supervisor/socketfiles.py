"""Unix sockets to listen at. Each is a file, and a file outlives the process that made it.

We replace a socket that a dead process has left. We do not replace one that is served, or any other file: two
proxies that are told the same path must not take it from each other, and a wrong path must not cost a file.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, Self

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["SocketPlace", "bind_socket_file"]

_OTHERS_BIND: Final = 1.0
"""Most seconds to wait while another proxy binds in the same directory, which takes milliseconds."""

_LOOK_EVERY: Final = 0.01


class SocketPlace(NamedTuple):
    """A file that a socket of ours is bound to.

    Attributes:
        path: The path of the file.
        device: The device that held the file when the socket was bound.
        inode: The file's inode number on that device.
    """

    path: str
    device: int
    inode: int

    @classmethod
    def of(cls, path: str) -> Self:
        """Return the file that is there now.

        Raises:
            OSError: There is no file.
        """
        found = os.lstat(path)
        return cls(path, found.st_dev, found.st_ino)

    def remove(self) -> None:
        """Remove the file if it is still ours.

        Call this while the socket is open: afterwards another file may have its inode number.
        """
        with contextlib.suppress(OSError):  # it is gone, or not ours to remove any more
            if SocketPlace.of(self.path) == self:
                Path(self.path).unlink()


def bind_socket_file(path: str, mode: int) -> socket.socket:
    """Return a socket that is bound to a path, and does not listen yet.

    Args:
        path: The path of its file.
        mode: The file's permissions, from the first moment on.

    Raises:
        FileExistsError: There is a file that is no socket.
        OSError: ``EADDRINUSE`` if the path is a socket that a process serves; else the kernel's error.
    """
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        with _alone_in(Path(path).parent):
            _remove_dead(path)
            before = os.umask(0o777 & ~mode)
            try:
                made.bind(path)
            finally:
                os.umask(before)
    except BaseException:
        made.close()
        raise
    return made


@contextlib.contextmanager
def _alone_in(directory: Path) -> Iterator[None]:
    """Lock a directory: of two proxies that find a dead socket, one would remove the other's new one.

    If the directory cannot be locked, go on without the lock. If it stays locked, wait `_OTHERS_BIND` at
    most: no proxy holds the lock for so long.
    """
    with contextlib.ExitStack() as opened:
        with contextlib.suppress(OSError):
            descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            opened.callback(os.close, descriptor)
            until = time.monotonic() + _OTHERS_BIND
            while not _lock(descriptor) and time.monotonic() < until:
                time.sleep(_LOOK_EVERY)
        yield


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _remove_dead(path: str) -> None:
    """Remove a socket that no process serves; do nothing if there is no file.

    Raises:
        FileExistsError: The file is no socket.
        OSError: The socket is served, or cannot be removed.
    """
    try:
        kind = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(kind):
        raise FileExistsError(errno.EEXIST, "there is a file that is no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as asking:
        # EAGAIN means that its backlog is full, and EACCES that it may be served.
        if asking.connect_ex(path) != errno.ECONNREFUSED:
            raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
    Path(path).unlink()
