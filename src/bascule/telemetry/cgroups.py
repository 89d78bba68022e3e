"""Which control groups we are in: our own and all above it, since the limit of a group binds all below.

In a container the path that `/proc/self/cgroup` shows may not exist inside; then the mount's root is
our own group.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Group", "groups"]


class Group(NamedTuple):
    """One control group.

    Attributes:
        version: Of control groups, 1 or 2.
        folder: Where its files are.
    """

    version: int
    folder: Path

    def words(self, name: str) -> list[str]:
        """Return the words of one of its files; none when it cannot be read."""
        try:
            return (self.folder / name).read_text(encoding="ascii", errors="replace").split()
        except OSError:
            return []


def groups(controller: str, root: Path = Path("/")) -> Iterator[Group]:
    """Yield our groups, from the mount's root down.

    Args:
        controller: As version 1 calls it: ``memory``, ``cpu``.
        root: Where `/proc` and `/sys` are.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    mounted = root / "sys/fs/cgroup"
    for line in lines:
        number, controllers, path = line.split(":", 2)
        if number == "0":
            version, base = 2, mounted
        elif controller in controllers.split(","):
            version, base = 1, mounted / controller
        else:
            continue
        names = path.strip("/").split("/") if path != "/" else []
        for depth in range(len(names) + 1):
            yield Group(version, base.joinpath(*names[:depth]))
