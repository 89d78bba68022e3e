"""The session budget: one counter, one lease for each session, exact.

The cap is per pod and exact because one gateway admits, in one thread, with no
suspension point between the check and the count (I7). With *n* pods a cluster admits
*n* times as many. What one user may hold of it is counted beside it, in the same leases.

Rules of this file: synchronous; only `SessionBudget.try_acquire`, `SessionBudget.restore`
and `Lease.release` change the counter.
"""

from __future__ import annotations

from collections import Counter


class SessionBudget:
    """Counted capacity for sessions.

    Args:
        limit: Most sessions at once (`maxSessionsPerApp`).
        per_user: Most of them that one user has (`limits.maxSessionsPerUser`); 0 for any number.

    Attributes:
        limit: The first.
    """

    def __init__(self, limit: int, per_user: int = 0) -> None:
        self.limit = limit
        self._per_user = per_user
        self._held: set[Lease] = set()
        self._by_user: Counter[str] = Counter()

    @property
    def in_use(self) -> int:
        """Leases held now."""
        return len(self._held)

    @property
    def oldest(self) -> float | None:
        """When the lease that is held longest was taken, monotonic; ``None`` when none is held."""
        return min((lease.since for lease in self._held), default=None)

    def has_room_for(self, user: str | None) -> bool:
        """Tell whether a user may have another session; one who is not known may, as far as this goes."""
        return user is None or not self._per_user or self._by_user[user] < self._per_user

    def try_acquire(self, now: float, user: str | None = None) -> Lease | None:
        """Take one lease at a monotonic time, in seconds; ``None`` at the cap.

        Args:
            now: The time.
            user: Whose it is, where that is known. `has_room_for` is asked before.
        """
        if len(self._held) >= self.limit:
            return None
        return self.restore(now, user)

    def restore(self, since: float, user: str | None = None) -> Lease:
        """Take a lease for a session that lives already, since that monotonic time (after a restart).

        A session that is open counts, whatever the limit: the gauge tells the truth, and
        nothing new is admitted until enough have ended.
        """
        lease = Lease(self._held, self._by_user, since, user)
        self._held.add(lease)
        if user is not None:
            self._by_user[user] += 1
        return lease


class Lease:
    """Proof of holding one unit of the budget. Releasing it twice is harmless (I3).

    Attributes:
        since: When it was taken, monotonic, in seconds.
    """

    __slots__ = ("_by_user", "_held", "_user", "since")

    def __init__(self, held: set[Lease], by_user: Counter[str], since: float, user: str | None) -> None:
        self._held = held
        self._by_user = by_user
        self._user = user
        self.since = since

    def release(self) -> bool:
        """Give the unit back; tell whether this call did it."""
        if self not in self._held:
            return False
        self._held.remove(self)
        if self._user is not None:
            self._by_user[self._user] -= 1
            if not self._by_user[self._user]:
                del self._by_user[self._user]  # users come and go for months
        return True
