"""The sessions of this pod as the gateway knows them: one record and one lease each.

A record is written when a session is handed over and leaves with its outcome, or with
the forwarder that carried it. When another gateway serves, the records come back
from the forwarders, with the tag the former gateway had given each session.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bascule.policy.budget import Lease
    from bascule.telemetry.accesslog import Errand
    from bascule.vocabulary import Kind


@dataclass(slots=True)
class Record:
    """One session.

    Attributes:
        id: Unique on this pod.
        errand: Whose it is.
        opened_at: Monotonic time of admission.
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
        """Return a record."""
        return self._records.get(identifier)

    def add(self, record: Record) -> None:
        """Add a record."""
        self._records[record.id] = record
        self.by_slot[record.slot] += 1
        self.by_kind[record.errand.kind] += 1

    def remove(self, identifier: int) -> Record | None:
        """Remove and return a record; its lease is released."""
        record = self._records.pop(identifier, None)
        if record is not None:
            self.by_slot[record.slot] -= 1
            self.by_kind[record.errand.kind] -= 1
            record.lease.release()
        return record

    def of_slot(self, slot: int) -> list[Record]:
        """Return the records that one forwarder carries."""
        return [record for record in self._records.values() if record.slot == slot]
