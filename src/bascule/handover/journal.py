"""Lines that a gateway leaves for its successor, in a memory file that both have open.

The supervisor makes the file and passes it from gateway to gateway; one process at a time writes.
Layout, native byte order::

    start:Q end:Q   the lines between the two, each with a line feed

A process that is killed while it writes leaves a whole line or none: it writes the line's bytes first,
and then, in one call, the 16 bytes that make them count.

Rules of this file: it does not know what a line means.
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
        """Make an empty one; its descriptor is closed with the object. ``/proc`` shows its ``name``."""
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
        """Replace all lines.

        Raises:
            OSError: There is no memory. The lines are as before.
        """
        data = b"".join(line + b"\n" for line in lines)
        start, end = self._bounds()
        # The new lines go in front of the old ones if they fit there, else behind, so the old ones stay
        # whole until the bounds change.
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
