"""The session budget: one counter, and one lease for each session.

The cap holds for one pod. It is exact because only one gateway admits sessions, in one thread, with no
suspension point between the check and the count (I7). With *n* pods a cluster admits *n* times as many. The
same leases are also counted by user and by route, each of which may have a cap of its own.

Rules of this file: synchronous; only `SessionBudget.try_acquire`, `SessionBudget.restore`
and `Lease.release` change the counters.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Literal, TypeAlias

from bascule.vocabulary import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["AtACap", "Lease", "SessionBudget"]


AtACap: TypeAlias = Literal[Refusal.CAP, Refusal.USER_CAP, Refusal.ROUTE_CAP]
"""Which cap was reached: the pod's, the user's or the route's."""


class SessionBudget:
    """Counted capacity for sessions.

    Args:
        limit: Most sessions at once (`maxSessionsPerApp`).
        per_user: Most of them that one user has (`limits.maxSessionsPerUser`); 0 for any number.
        by_route: Most of them on a route, by its name (`routes[].maxSessions`); any number on the others.
        unlisted: Returns how many sessions are open without a lease, since nobody has told us of them yet.

    Attributes:
        limit: Most sessions at once.
        by_route: Most sessions on a route, by its name; any number on the others.
        at_latest: `in_flight` when `try_acquire` gave the latest lease, this one included: for who notes
            the peak with every handshake.
    """

    def __init__(
        self,
        limit: int,
        per_user: int = 0,
        by_route: Mapping[str, int] | None = None,
        unlisted: Callable[[], int] = lambda: 0,
    ) -> None:
        self.limit = limit
        self.by_route = by_route or {}
        self.at_latest = 0
        self._per_user = per_user
        self._unlisted = unlisted
        self._held: set[Lease] = set()
        self._of_user: Counter[str] = Counter()
        self._on_route: Counter[str] = Counter()

    @property
    def in_use(self) -> int:
        """Leases held now."""
        return len(self._held)

    @property
    def in_flight(self) -> int:
        """Sessions that the pod's cap counts: the leases, and those that are open without one."""
        return len(self._held) + self._unlisted()

    @property
    def oldest(self) -> float | None:
        """When the lease that is held longest was taken, monotonic; ``None`` when none is held."""
        return min((lease.since for lease in self._held), default=None)

    def in_use_on(self, route: str) -> int:
        """Leases held now on a route."""
        return self._on_route[route]

    def try_acquire(self, now: float, route: str, user: str | None = None) -> Lease | AtACap:
        """Take one lease, or say which cap is reached.

        Args:
            now: Monotonic time, in seconds.
            route: Name of the route that was asked for.
            user: The user who asks; ``None`` where that is not known.

        Returns:
            The lease; or the cap that was reached. The pod's cap comes first, since the contract fixes the
            answer of a full pod for every caller.
        """
        before = self.in_flight
        if before >= self.limit:
            return Refusal.CAP
        if user is not None and 0 < self._per_user <= self._of_user[user]:
            return Refusal.USER_CAP
        most = self.by_route.get(route)
        if most is not None and self._on_route[route] >= most:
            return Refusal.ROUTE_CAP
        self.at_latest = before + 1
        return self.restore(now, route, user)

    def restore(self, since: float, route: str, user: str | None = None) -> Lease:
        """Take a lease for a session that is open already, since that monotonic time (after a restart).

        An open session counts even beyond a cap, so the gauge is right, and no new session is
        admitted until enough have ended.
        """
        lease = Lease(self._give_back, since, route, user)
        self._held.add(lease)
        self._on_route[route] += 1
        if user is not None:
            self._of_user[user] += 1
        return lease

    def _give_back(self, lease: Lease) -> bool:
        if lease not in self._held:
            return False
        self._held.remove(lease)
        _take_one(self._on_route, lease.route)
        if lease.user is not None:
            _take_one(self._of_user, lease.user)
        return True


class Lease:
    """Proof of holding one unit of the budget. Releasing it twice is harmless (I3).

    Attributes:
        since: When it was taken, monotonic, in seconds.
        route: Name of the route it counts for.
        user: The user it counts for.
    """

    __slots__ = ("_give_back", "route", "since", "user")

    def __init__(
        self, give_back: Callable[[Lease], bool], since: float, route: str, user: str | None
    ) -> None:
        self._give_back = give_back
        self.since = since
        self.route = route
        self.user = user

    def release(self) -> bool:
        """Give the unit back; tell whether this call did it."""
        return self._give_back(self)


def _take_one(counts: Counter[str], name: str) -> None:
    """Count one less. Users and JupyterHub's routes come and go for months, so entries at 0 are deleted."""
    if counts[name] == 1:
        del counts[name]
    else:
        counts[name] -= 1
