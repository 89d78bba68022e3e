"""Figures that only a gateway's own memory has, and how a gateway that retires leaves them to the next one.

They are percentiles, CPU rates, the hour of the status page, and who reads `/metrics`. All else that is
counted lies in shared memory, and outlives a gateway that dies, too.

Rules of this file: it carries what each owner dumps and restores, and looks at nothing in it.
"""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bascule.handover.journal import Journal

__all__ = ["Figures", "Owner"]


class Owner(Protocol):
    """An object that has figures."""

    def dump(self) -> Any:
        """Return them in a form that `json` can write."""

    def restore(self, dumped: Any, /) -> None:
        """Go on with what another gateway's owner dumped."""


class Figures:
    """The figures of this process.

    Args:
        journal: Where one gateway leaves them to the next.
        owners: Who has them, by names that do not change from one configuration to another.
    """

    def __init__(self, journal: Journal, owners: Mapping[str, Owner]) -> None:
        self._journal: Final = journal
        self._owners: Final = owners

    def take_over(self) -> None:
        """Go on with what the former gateway left; one that died has left nothing, so we begin afresh."""
        lines = self._journal.lines()
        # Before they are used: what one gateway dies of must not be there for the next.
        self._journal.replace(())
        for line in lines:
            left = json.loads(line)
            for name, owner in self._owners.items():
                owner.restore(left[name])

    def leave(self) -> None:
        """Leave the figures to the next gateway; without memory for that, it begins afresh."""
        left = {name: owner.dump() for name, owner in self._owners.items()}
        with contextlib.suppress(OSError):
            self._journal.replace((json.dumps(left).encode(),))
