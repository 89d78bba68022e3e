"""Finds out when files were renewed: those that a configuration names, and its own if that is wanted.

A tool that renews files (cert-manager, certbot, a kubelet that mounts a Secret or a ConfigMap) sends
no signal, and may write certificate and key one after the other. So we look at the files now and then:
they were renewed when two looks in a row find the same state, and it differs from the state before.

Rules of this file: it looks at files and does not read them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Self

from bascule.configuration.model import files

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from bascule.configuration.config import Config

__all__ = ["LOOK_EVERY", "TRY_AGAIN", "Renewal"]

LOOK_EVERY: Final = 10.0
"""Seconds between two looks: certificates are renewed days before they expire."""

TRY_AGAIN: Final = 30
"""Looks until files that could not be taken over are tried again: five minutes."""

_State = tuple[int, ...]
"""Device, inode, size and time of the last change; empty for a file that is not there."""


class Renewal:
    """Watches files, from their present state on.

    Args:
        paths: The files.
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        self._files = list(paths)
        self._in_force = self._last = self._look()
        self._looks_since_failure: int | None = None

    @classmethod
    def of_named(cls, config: Config) -> Self:
        """Watch the files that a configuration names: certificates, keys and tokens."""
        return cls(named for _, named in files(config))

    def _look(self) -> list[_State]:
        return [_state(named) for named in self._files]

    def look(self) -> bool:
        """Look again; tell whether the files were renewed: once each time, unless `failed` is called."""
        last, self._last = self._last, self._look()
        is_due = False
        if self._looks_since_failure is not None:
            self._looks_since_failure += 1
            is_due = self._looks_since_failure >= TRY_AGAIN
        if self._last != last or (self._last == self._in_force and not is_due):
            return False
        self._in_force = self._last
        self._looks_since_failure = None
        return True

    def taken(self) -> None:
        """Note that the files are about to be read."""
        self._in_force = self._last = self._look()
        self._looks_since_failure = None

    def failed(self) -> None:
        """Note that the files could not be used. The reason may pass: `look` tells again in `TRY_AGAIN`."""
        self._looks_since_failure = 0


def _state(named: Path) -> _State:
    try:
        found = named.stat()
    except OSError:
        return ()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
