"""The session budget: one counter, one lease for each session, exact.

The cap is per pod and exact because one gateway admits, in one thread, with no
suspension point between the check and the count (I7). With *n* pods a cluster admits
*n* times as many.

Rules of this file: synchronous; only `SessionBudget.try_acquire`, `SessionBudget.restore`
and `Lease.release` change the counter.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BudgetStatistics:
    """A snapshot.

    Attributes:
        in_use: Leases held now.
        limit: Most leases at once.
        peak: Most leases held at once so far.
        refused: How often `try_acquire` said no.
    """

    in_use: int
    limit: int
    peak: int
    refused: int


class SessionBudget:
    """Counted capacity for sessions.

    Args:
        limit: Most sessions at once (`maxSessionsPerApp`).
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.in_use = 0
        self._peak = 0
        self._refused = 0

    def try_acquire(self) -> Lease | None:
        """Take one lease; ``None`` at the cap, which is counted as refused."""
        if self.in_use >= self.limit:
            self._refused += 1
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
        self._peak = max(self._peak, self.in_use)
        return Lease(self)

    def statistics(self) -> BudgetStatistics:
        """Return a snapshot."""
        return BudgetStatistics(self.in_use, self.limit, self._peak, self._refused)


class Lease:
    """Proof of holding one unit of the budget. Releasing it twice is harmless (I3)."""

    __slots__ = ("_budget",)

    def __init__(self, budget: SessionBudget) -> None:
        self._budget: SessionBudget | None = budget

    @property
    def is_held(self) -> bool:
        """Whether it has not been released yet."""
        return self._budget is not None

    def release(self) -> bool:
        """Give the unit back; tell whether this call did it."""
        if self._budget is None:
            return False
        self._budget.in_use -= 1
        self._budget = None
        return True
