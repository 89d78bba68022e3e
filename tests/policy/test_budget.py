"""The budget is exact whatever the order of events: in use = leases held, refused only at the cap."""

from __future__ import annotations

import sys
from collections import Counter

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from bascule.policy.budget import Lease, SessionBudget
from bascule.vocabulary import Refusal


def test_the_cap_is_taken_and_given_back() -> None:
    budget = SessionBudget(2)
    first = taken(budget)
    taken(budget)
    assert budget.try_acquire(0.0, "lab") is Refusal.CAP
    assert first.release() is True
    taken(budget)
    assert budget.in_use == 2


def test_sessions_that_are_open_without_a_lease_are_in_flight_and_count_against_the_cap() -> None:
    budget = SessionBudget(5, unlisted=lambda: 3)
    first = taken(budget)
    assert budget.in_flight == 4
    taken(budget)
    assert budget.try_acquire(0.0, "lab") is Refusal.CAP
    first.release()
    assert (budget.in_flight, budget.in_use) == (4, 1)


def test_releasing_twice_gives_back_once() -> None:  # I3
    budget = SessionBudget(1)
    lease = taken(budget)
    assert [lease.release(), lease.release()] == [True, False]
    assert budget.in_use == 0


def test_restored_sessions_count_beyond_the_cap_and_keep_others_out() -> None:
    budget = SessionBudget(1)
    restored = [budget.restore(0.0, "lab") for _ in range(3)]
    assert budget.in_use == 3
    assert budget.try_acquire(0.0, "lab") is Refusal.CAP
    for lease in restored[:2]:
        lease.release()
    assert budget.try_acquire(0.0, "lab") is Refusal.CAP
    restored[2].release()
    taken(budget)


def test_sessions_that_nobody_has_told_us_of_yet_keep_others_out() -> None:
    unlisted = 1
    budget = SessionBudget(2, unlisted=lambda: unlisted)
    taken(budget)
    assert budget.try_acquire(0.0, "lab") is Refusal.CAP
    assert (budget.in_use, budget.in_flight) == (1, 2)
    unlisted = 0
    taken(budget)


def test_a_user_has_room_until_the_own_cap_whatever_others_hold() -> None:
    budget = SessionBudget(10, per_user=2)
    first = taken(budget, user="ada")
    budget.restore(0.0, "app", "ada")
    assert budget.try_acquire(0.0, "lab", "ada") is Refusal.USER_CAP
    taken(budget, user="grace")
    taken(budget)
    first.release()
    first.release()
    taken(budget, user="ada")


def test_without_a_cap_for_each_user_there_is_room_for_all() -> None:
    budget = SessionBudget(10)
    for _ in range(10):
        taken(budget, user="ada")


def test_a_route_has_room_until_its_own_cap_and_leaves_the_rest_to_others() -> None:
    budget = SessionBudget(10, by_route={"app": 2, "closed": 0})
    first = taken(budget, "app")
    budget.restore(0.0, "app")
    assert budget.try_acquire(0.0, "app") is Refusal.ROUTE_CAP
    assert budget.in_use_on("app") == 2
    assert budget.try_acquire(0.0, "closed") is Refusal.ROUTE_CAP
    for _ in range(8):
        taken(budget)
    first.release()
    first.release()
    taken(budget, "app")


def test_a_user_may_be_left_a_single_session() -> None:
    budget = SessionBudget(10, per_user=1)
    lease = taken(budget, user="ada")
    assert budget.try_acquire(0.0, "lab", "ada") is Refusal.USER_CAP
    lease.release()
    taken(budget, user="ada")


def test_nothing_is_kept_of_users_and_routes_that_have_gone() -> None:
    name = "".join(["a", "da"])  # of its own: a literal is kept by this file
    budget = SessionBudget(10, per_user=2)
    before = sys.getrefcount(name)
    leases = [taken(budget, name, name) for _ in range(2)]
    while leases:
        leases.pop().release()
    assert sys.getrefcount(name) == before


def test_a_full_pod_is_said_to_be_full_whatever_else_is() -> None:
    budget = SessionBudget(1, per_user=1, by_route={"app": 1})
    taken(budget, "app", "ada")
    assert budget.try_acquire(0.0, "app", "ada") is Refusal.CAP


def taken(budget: SessionBudget, route: str = "lab", user: str | None = None) -> Lease:
    """Take a lease there must be."""
    lease = budget.try_acquire(0.0, route, user)
    assert isinstance(lease, Lease)
    return lease


class Budget(RuleBasedStateMachine):
    """Leases come and go in any order; a list of our own says what must be true."""

    leases = Bundle("leases")
    times = st.floats(0.0, 1e9)
    users = st.sampled_from([None, "ada", "grace"])
    routes = st.sampled_from(["lab", "app", "closed"])

    def __init__(self) -> None:
        super().__init__()
        self.budget = SessionBudget(4, per_user=2, by_route={"app": 2, "closed": 0})
        self.held: list[Lease] = []

    @rule(target=leases, now=times, route=routes, user=users)
    def acquire(self, now: float, route: str, user: str | None) -> Lease | Refusal:
        answer = self.budget.try_acquire(now, route, user)
        users = [lease.user for lease in self.held]
        on_route = [lease.route for lease in self.held].count(route)
        if len(self.held) >= self.budget.limit:
            assert answer is Refusal.CAP
        elif user is not None and users.count(user) >= 2:
            assert answer is Refusal.USER_CAP
        elif route == "closed" or (route == "app" and on_route >= 2):
            assert answer is Refusal.ROUTE_CAP
        else:
            assert isinstance(answer, Lease)
            assert (answer.since, answer.route, answer.user) == (now, route, user)
            self.held.append(answer)
        return answer

    @rule(target=leases, since=times, route=routes, user=users)
    def restore(self, since: float, route: str, user: str | None) -> Lease:
        lease = self.budget.restore(since, route, user)
        self.held.append(lease)
        return lease

    @rule(lease=leases)
    def release(self, lease: Lease | Refusal) -> None:
        if isinstance(lease, Lease):
            assert lease.release() is (lease in self.held)
            if lease in self.held:
                self.held.remove(lease)

    @rule(lease=consumes(leases))
    def release_and_forget(self, lease: Lease | Refusal) -> None:
        self.release(lease)

    @rule(limit=st.integers(1, 5))
    def reconfigure(self, limit: int) -> None:
        self.budget.limit = limit

    @invariant()
    def in_use_is_what_is_held(self) -> None:
        assert self.budget.in_use == len(self.held)

    @invariant()
    def each_route_has_what_is_held_on_it(self) -> None:
        counts = Counter(lease.route for lease in self.held)
        for route in ("lab", "app", "closed"):
            assert self.budget.in_use_on(route) == counts[route]

    @invariant()
    def the_oldest_is_of_those_that_are_held(self) -> None:
        assert self.budget.oldest == min((lease.since for lease in self.held), default=None)


TestBudget = Budget.TestCase
TestBudget.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
