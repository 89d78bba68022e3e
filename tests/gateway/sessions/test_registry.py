"""The sessions of a pod, counted while they are there."""

from __future__ import annotations

from bascule.gateway.sessions.registry import Record, Registry
from bascule.policy.budget import SessionBudget
from bascule.telemetry.errand import Errand
from bascule.vocabulary import Kind


def record(
    identifier: int,
    slot: int = 0,
    kind: Kind = Kind.JUPYTER,
    user: str | None = None,
    budget: SessionBudget | None = None,
) -> Record:
    lease = (budget or SessionBudget(1)).restore(0.0, "lab", user)
    return Record(identifier, Errand("lab", kind, "10.0.0.7", "lab:8888", user), 1.0, slot, lease)


def test_sessions_are_counted_by_forwarder_and_kind_while_they_are_there() -> None:
    registry = Registry()
    one, two, three = record(1), record(2, slot=1), record(3, slot=1, kind=Kind.APP)
    for each in (one, two, three):
        registry.add(each)

    assert (registry.by_slot, registry.by_kind) == ({0: 1, 1: 2}, {Kind.JUPYTER: 2, Kind.APP: 1})
    assert (len(registry), list(registry)) == (3, [one, two, three])
    assert (registry.of_slot(1), registry.of_slot(2)) == ([two, three], [])
    assert (registry.get(2), registry.get(4)) == (two, None)

    registry.remove(3)

    assert (registry.by_slot, registry.by_kind) == ({0: 1, 1: 1}, {Kind.JUPYTER: 2, Kind.APP: 0})
    assert registry.of_slot(1) == [two]
    assert registry.get(3) is None


def test_a_session_that_goes_gives_its_lease_back_once() -> None:
    registry, budget = Registry(), SessionBudget(1)
    registry.add(record(1, budget=budget))
    assert budget.in_use == 1

    registry.remove(1)
    registry.remove(1)

    assert budget.in_use == 0
    assert registry.by_slot[0] == 0
