"""Lines that a process leaves for the one that comes after it, in a memory file that both have.

The supervisor makes it and carries it from gateway to gateway; one process at a time writes.
Layout, native byte order::

    start:Q end:Q   the lines between the two, each with a line feed

Whoever is killed while it writes has written a line or has not: the bytes come first, and the
16 bytes that make them count are written at once.

Rules of this file: what a line says is for others to know.
"""

from __future__ import annotations

import os
import struct
import weakref
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Journal"]

_BOUNDS: Final = struct.Struct("=QQ")


class Journal:
    """One journal.

    Args:
        descriptor: Its memory file.

    Attributes:
        descriptor: Of the memory file, to be inherited by a child.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    @classmethod
    def create(cls, name: str) -> Self:
        """Make an empty one, whose descriptor goes with the object; ``name`` is what ``/proc`` calls it."""
        journal = cls(os.memfd_create(name, os.MFD_CLOEXEC))
        weakref.finalize(journal, os.close, journal.descriptor)
        journal._bound(_BOUNDS.size, _BOUNDS.size)
        return journal

    def __len__(self) -> int:
        """Return the bytes of all lines."""
        start, end = self._bounds()
        return end - start

    def lines(self) -> list[bytes]:
        """Return all lines, the oldest first, without their line feeds."""
        start, end = self._bounds()
        return self._read(start, end).split(b"\n")[:-1]

    def append(self, line: bytes) -> None:
        """Add a line, which holds no line feed.

        Raises:
            OSError: There is no memory. Nothing was added.
        """
        start, end = self._bounds()
        self._bound(start, self._write(end, line + b"\n"))

    def replace(self, lines: Iterable[bytes]) -> None:
        """Put other lines into the place of all.

        Raises:
            OSError: There is no memory. The lines are those there were.
        """
        data = b"".join(line + b"\n" for line in lines)
        start, end = self._bounds()
        # In front of the old ones if they fit there, else behind: the old ones stay whole until then.
        begin = _BOUNDS.size if _BOUNDS.size + len(data) <= start else end
        self._bound(begin, self._write(begin, data))
        os.ftruncate(self.descriptor, begin + len(data))

    def _bounds(self) -> tuple[int, int]:
        start, end = _BOUNDS.unpack(os.pread(self.descriptor, _BOUNDS.size, 0))
        return start, end

    def _bound(self, start: int, end: int) -> None:
        os.pwrite(self.descriptor, _BOUNDS.pack(start, end), 0)

    def _read(self, start: int, end: int) -> bytes:
        parts = []
        while start < end:
            part = os.pread(self.descriptor, end - start, start)
            parts.append(part)
            start += len(part)
        return b"".join(parts)

    def _write(self, position: int, data: bytes) -> int:
        """Write all; return where it ends."""
        while data:
            written = os.pwrite(self.descriptor, data, position)
            position += written
            data = data[written:]
        return position
