"""The budget is exact whatever the order of events: in use = leases held, refused only at the cap."""

from __future__ import annotations

from collections import Counter

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from bascule.policy.budget import Lease, SessionBudget


def test_the_cap_is_taken_and_given_back() -> None:
    budget = SessionBudget(2)
    first, second = budget.try_acquire(0.0), budget.try_acquire(0.0)
    assert first is not None
    assert second is not None
    assert budget.try_acquire(0.0) is None
    assert first.release() is True
    assert budget.try_acquire(0.0) is not None
    assert budget.in_use == 2


def test_releasing_twice_gives_back_once() -> None:  # I3
    budget = SessionBudget(1)
    lease = budget.try_acquire(0.0)
    assert lease is not None
    assert [lease.release(), lease.release()] == [True, False]
    assert budget.in_use == 0


def test_restored_sessions_count_beyond_the_cap_and_keep_others_out() -> None:
    budget = SessionBudget(1)
    restored = [budget.restore(0.0) for _ in range(3)]
    assert budget.in_use == 3
    assert budget.try_acquire(0.0) is None
    for lease in restored[:2]:
        lease.release()
    assert budget.try_acquire(0.0) is None
    restored[2].release()
    assert budget.try_acquire(0.0) is not None


def test_a_user_has_room_until_the_own_cap_whatever_others_hold() -> None:
    budget = SessionBudget(10, per_user=2)
    first = budget.try_acquire(0.0, "ada")
    budget.restore(0.0, "ada")
    assert first is not None
    assert not budget.has_room_for("ada")
    assert budget.has_room_for("grace")
    assert budget.has_room_for(None)
    first.release()
    first.release()
    assert budget.has_room_for("ada")


def test_without_a_cap_for_each_user_there_is_room_for_all() -> None:
    budget = SessionBudget(10)
    for _ in range(10):
        budget.try_acquire(0.0, "ada")
    assert budget.has_room_for("ada")


class Budget(RuleBasedStateMachine):
    """Leases come and go in any order; a counter of our own says what must be true."""

    leases = Bundle("leases")
    times = st.floats(0.0, 1e9)
    users = st.sampled_from([None, "ada", "grace"])

    def __init__(self) -> None:
        super().__init__()
        self.budget = SessionBudget(3, per_user=2)
        self.held: dict[int, float] = {}
        self.holders: dict[int, str | None] = {}

    @rule(target=leases, now=times, user=users)
    def acquire(self, now: float, user: str | None) -> Lease | None:
        lease = self.budget.try_acquire(now, user)
        assert (lease is None) == (len(self.held) >= self.budget.limit)
        self._note(lease, user)
        return lease

    @rule(target=leases, since=times, user=users)
    def restore(self, since: float, user: str | None) -> Lease:
        lease = self.budget.restore(since, user)
        self._note(lease, user)
        return lease

    def _note(self, lease: Lease | None, user: str | None) -> None:
        if lease is not None:
            self.held[id(lease)] = lease.since
            self.holders[id(lease)] = user

    @rule(lease=leases)
    def release(self, lease: Lease | None) -> None:
        if lease is not None:
            assert lease.release() is (id(lease) in self.held)
            self.held.pop(id(lease), None)
            self.holders.pop(id(lease), None)

    @rule(lease=consumes(leases))
    def release_and_forget(self, lease: Lease | None) -> None:
        self.release(lease)

    @rule(limit=st.integers(1, 5))
    def reconfigure(self, limit: int) -> None:
        self.budget.limit = limit

    @invariant()
    def in_use_is_what_is_held(self) -> None:
        assert self.budget.in_use == len(self.held)

    @invariant()
    def a_user_has_room_below_the_own_cap(self) -> None:
        counts = Counter(self.holders.values())
        assert self.budget.has_room_for(None)
        for user in ("ada", "grace"):
            assert self.budget.has_room_for(user) == (counts[user] < 2)

    @invariant()
    def the_oldest_is_of_those_that_are_held(self) -> None:
        assert self.budget.oldest == min(self.held.values(), default=None)


TestBudget = Budget.TestCase
TestBudget.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
