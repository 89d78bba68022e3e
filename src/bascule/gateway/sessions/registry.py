"""The sessions of this pod as the gateway knows them: one record and one lease each.

A record is written when a session is handed over, and removed with its outcome or with
the death of its forwarder. Another gateway gets the records back from the forwarders,
with the tag that the former gateway gave each session.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bascule.policy.budget import Lease
    from bascule.telemetry.errand import Errand
    from bascule.vocabulary import Kind

__all__ = ["Record", "Registry"]


@dataclass(slots=True)
class Record:
    """One session.

    Attributes:
        id: Unique on this pod.
        errand: Whose session it is, and where it leads.
        opened_at: Monotonic time of admission, in seconds.
        slot: Forwarder that carries it.
        lease: Its unit of the budget.
    """

    id: int
    errand: Errand
    opened_at: float
    slot: int
    lease: Lease


class Registry:
    """All records, by id."""

    def __init__(self) -> None:
        self._records: dict[int, Record] = {}
        self.by_slot: Counter[int] = Counter()
        self.by_kind: Counter[Kind] = Counter()

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[Record]:
        return iter(self._records.values())

    def get(self, identifier: int) -> Record | None:
        """Return a record; ``None`` if the session is not known."""
        return self._records.get(identifier)

    def add(self, record: Record) -> None:
        """Add a record."""
        self._records[record.id] = record
        self.by_slot[record.slot] += 1
        self.by_kind[record.errand.kind] += 1

    def remove(self, identifier: int) -> None:
        """Remove a record and release its lease; do nothing if the session is not known."""
        record = self._records.pop(identifier, None)
        if record is not None:
            self.by_slot[record.slot] -= 1
            self.by_kind[record.errand.kind] -= 1
            record.lease.release()

    def of_slot(self, slot: int) -> list[Record]:
        """Return the records of the sessions that one forwarder carries."""
        return [record for record in self._records.values() if record.slot == slot]
