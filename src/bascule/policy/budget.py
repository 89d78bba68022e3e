"""The session budget: one counter, one lease for each session, exact.

The cap is per pod and exact because one gateway admits, in one thread, with no
suspension point between the check and the count (I7). With *n* pods a cluster admits
*n* times as many.

Rules of this file: synchronous; only `SessionBudget.try_acquire`, `SessionBudget.restore`
and `Lease.release` change the counter.
"""

from __future__ import annotations


class SessionBudget:
    """Counted capacity for sessions.

    Args:
        limit: Most sessions at once (`maxSessionsPerApp`).

    Attributes:
        limit: The same.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._held: set[Lease] = set()

    @property
    def in_use(self) -> int:
        """Leases held now."""
        return len(self._held)

    @property
    def oldest(self) -> float | None:
        """When the lease that is held longest was taken, monotonic; ``None`` when none is held."""
        return min((lease.since for lease in self._held), default=None)

    def try_acquire(self, now: float) -> Lease | None:
        """Take one lease at a monotonic time, in seconds; ``None`` at the cap."""
        if len(self._held) >= self.limit:
            return None
        return self.restore(now)

    def restore(self, since: float) -> Lease:
        """Take a lease for a session that lives already, since that monotonic time (after a restart).

        A session that is open counts, whatever the limit: the gauge tells the truth, and
        nothing new is admitted until enough have ended.
        """
        lease = Lease(self._held, since)
        self._held.add(lease)
        return lease


class Lease:
    """Proof of holding one unit of the budget. Releasing it twice is harmless (I3).

    Attributes:
        since: When it was taken, monotonic, in seconds.
    """

    __slots__ = ("_held", "since")

    def __init__(self, held: set[Lease], since: float) -> None:
        self._held = held
        self.since = since

    def release(self) -> bool:
        """Give the unit back; tell whether this call did it."""
        if self not in self._held:
            return False
        self._held.remove(self)
        return True
