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
        in_use: Leases held now.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.in_use = 0

    def try_acquire(self) -> Lease | None:
        """Take one lease; ``None`` at the cap."""
        if self.in_use >= self.limit:
            return None
        return self._lease()

    def restore(self) -> Lease:
        """Take a lease for a session that lives already (after a restart of the gateway).

        A session that is open counts, whatever the limit: the gauge tells the truth, and
        nothing new is admitted until enough have ended.
        """
        return self._lease()

    def _lease(self) -> Lease:
        self.in_use += 1
        return Lease(self)


class Lease:
    """Proof of holding one unit of the budget. Releasing it twice is harmless (I3)."""

    __slots__ = ("_budget",)

    def __init__(self, budget: SessionBudget) -> None:
        self._budget: SessionBudget | None = budget

    def release(self) -> bool:
        """Give the unit back; tell whether this call did it."""
        if self._budget is None:
            return False
        self._budget.in_use -= 1
        self._budget = None
        return True
