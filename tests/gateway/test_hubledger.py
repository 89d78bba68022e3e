"""JupyterHub's routes, and their activity, through the life of gateways and between replicas."""

from __future__ import annotations

import asyncio
import json
import os
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import pytest

from bascule.admin.view import Retired
from bascule.configuration.config import Hub
from bascule.gateway import hubledger as module
from bascule.gateway.hubactivity import HubActivity
from bascule.gateway.hubledger import _AT_ONCE, _LEAST, HubRouteLedger
from bascule.handover.journal import Journal
from bascule.policy.hubchanges import Change
from bascule.policy.hubroutes import HubRoutes
from bascule.policy.routes import RouteTable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bascule.configuration.hubroute import HubRoute
    from tests.support.clock import Clock

TARGET = "http://10.0.0.1:8888"
MIB = 1 << 20


class Log:
    """Keeps what is logged, for what others have set for all logs must not matter here."""

    def __init__(self) -> None:
        self.warnings: list[dict[str, object]] = []

    def info(self, event: str, **_: object) -> None:
        pass

    def warning(self, event: str, **values: object) -> None:
        self.warnings.append({"event": event, **values})


@pytest.fixture(autouse=True)
def log(monkeypatch: pytest.MonkeyPatch) -> Log:
    log = Log()
    monkeypatch.setattr(module, "_log", log)
    return log


@pytest.fixture
def journal() -> Journal:
    return Journal.create("test-hub")


@pytest.fixture
def hub(hub_routes: HubRoutes, activity: HubActivity, journal: Journal, clock: Clock) -> HubRouteLedger:
    hub = HubRouteLedger(hub_routes, activity, journal, clock)
    hub.take_over()
    return hub


def ledger(table: HubRoutes, journal: Journal, clock: Clock) -> HubRouteLedger:
    return HubRouteLedger(table, HubActivity(table, clock), journal, clock)


def gateway(journal: Journal, clock: Clock, **settings: Any) -> HubRouteLedger:
    """The routes of a gateway that has just started."""
    hub = ledger(HubRoutes(RouteTable(()), Hub(**settings)), Journal(journal.descriptor), clock)
    hub.take_over()
    return hub


def added(hub: HubRouteLedger, routespec: str) -> HubRoute:
    hub.put(routespec, {"target": TARGET})
    route = hub.get(routespec)
    assert route is not None
    return route


def known(hub: HubRouteLedger) -> dict[str, tuple[object, float]]:
    return {route.routespec: (route.data, route.last_activity) for route in hub}


def active(hub: HubRouteLedger, routespec: str = "/user/alice") -> float:
    route = hub.get(routespec)
    assert route is not None
    return route.last_activity


# -- from gateway to gateway ------------------------------------------------------------------------------


def test_routes_outlive_a_gateway_with_all_that_was_said_of_them(
    hub: HubRouteLedger, journal: Journal, clock: Clock
) -> None:
    data = {"target": TARGET, "user": "bücher", "server_name": "", "more": [1, None]}
    hub.put("user/alice/", data)
    clock.now = 1005.5
    hub.put("/", {"target": TARGET})

    later = gateway(journal, clock)

    assert known(later) == {"/user/alice": (data, 1000.0), "/": ({"target": TARGET}, 1005.5)}
    assert later.routes.match(b"/user/alice/x", b"") is not None


def test_a_removed_route_stays_away(hub: HubRouteLedger, journal: Journal, clock: Clock) -> None:
    hub.put("/user/alice", {"target": TARGET})
    hub.put("/user/bob", {"target": TARGET})

    assert hub.remove("/user/alice")
    assert not hub.remove("/user/alice")

    assert list(known(gateway(journal, clock))) == ["/user/bob"]


def test_a_replaced_route_is_the_last_one(hub: HubRouteLedger, journal: Journal, clock: Clock) -> None:
    hub.put("/user/alice", {"target": TARGET})
    clock.now = 1001.0
    hub.put("/user/alice", {"target": "http://new"})

    assert known(gateway(journal, clock)) == {"/user/alice": ({"target": "http://new"}, 1001.0)}


def test_a_route_stays_away_in_whatever_case_its_host_was_written(journal: Journal, clock: Clock) -> None:
    hub = gateway(journal, clock, host_routing=True)
    hub.put("/alice.example.org/user", {"target": TARGET})

    assert hub.remove("/ALICE.example.org/user")

    assert known(gateway(journal, clock, host_routing=True)) == {}


def test_activity_outlives_a_gateway_that_retires(
    hub: HubRouteLedger, activity: HubActivity, journal: Journal, clock: Clock
) -> None:
    route = added(hub, "/user/alice")
    clock.now = 2000.0
    activity.touch(route)

    hub.retire()

    assert active(gateway(journal, clock)) == 2000.0


async def test_a_gateway_that_was_killed_leaves_its_routes_and_what_was_active_when_it_was_last_asked(
    hub: HubRouteLedger, activity: HubActivity, journal: Journal, clock: Clock
) -> None:
    route = added(hub, "/user/alice")
    hub.put("/user/bob", {"target": TARGET})
    hub.put("/user/carol", {"target": TARGET})
    clock.now = 2000.0
    activity.touch(route)
    hub.remove("/user/carol")
    activity.heard("/user/bob", 1997.0)
    activity.heard("/user/carol", 2000.0)
    await hub.keep_activity()
    clock.now = 3000.0
    activity.touch(route)

    later = gateway(journal, clock)

    assert (active(later), active(later, "/user/bob"), later.get("/user/carol")) == (2000.0, 1997.0, None)


async def test_activity_is_kept_once_and_the_journal_stays_short(
    hub: HubRouteLedger, activity: HubActivity, journal: Journal, clock: Clock
) -> None:
    route = added(hub, "/user/alice")
    await hub.keep_activity()
    length = len(journal)
    activity.touch(route)
    await hub.keep_activity()
    longer = len(journal)
    await hub.keep_activity()
    assert (longer > length, len(journal)) == (True, longer)

    for clock.now in range(2000, 2000 + 2 * _LEAST // (longer - length)):
        activity.touch(route)
        await hub.keep_activity()

    assert len(journal) <= _LEAST + (longer - length)
    assert active(gateway(journal, clock)) == clock.now


async def test_activity_that_could_not_be_kept_is_kept_the_next_time(
    hub: HubRouteLedger,
    activity: HubActivity,
    journal: Journal,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    route = added(hub, "/user/alice")
    clock.now = 2000.0
    activity.touch(route)
    with monkeypatch.context() as short:
        short.setattr(Journal, "append", Full.append)
        await hub.keep_activity()
    assert active(gateway(journal, clock)) == 1000.0

    await hub.keep_activity()

    assert active(gateway(journal, clock)) == 2000.0


async def test_the_activity_of_many_lets_others_have_their_turn(
    hub: HubRouteLedger, activity: HubActivity, journal: Journal, clock: Clock
) -> None:
    routes = [added(hub, f"/user/{number}") for number in range(2 * _AT_ONCE)]
    clock.now = 2000.0
    for route in routes:
        activity.touch(route)
    turns: list[int] = []

    async def touch_meanwhile() -> None:
        turns.append(len(journal))
        clock.now = 3000.0
        activity.touch(routes[0])

    other = asyncio.create_task(touch_meanwhile())
    before = len(journal)
    await hub.keep_activity()
    await other

    assert before < turns[0] < len(journal)
    await hub.keep_activity()
    later = gateway(journal, clock)
    assert [active(later, f"/user/{number}") for number in (0, 1, 2 * _AT_ONCE - 1)] == [3000, 2000, 2000]


def test_a_route_that_cannot_be_had_is_left_out_with_a_warning(
    journal: Journal, clock: Clock, log: Log
) -> None:
    journal.append(json.dumps({"put": "/a", "data": {}, "active": 0, "at": 1}).encode())
    journal.append(json.dumps({"put": "/b", "data": {"target": TARGET}, "active": 0, "at": 1}).encode())
    journal.append(json.dumps({"remove": "/a", "at": 2}).encode())

    assert list(known(gateway(journal, clock))) == ["/b"]
    problem = "Must specify 'target' as string"
    assert log.warnings == [{"event": "a route was not taken over", "problem": problem}]
    assert list(known(gateway(journal, clock))) == ["/b"]


def test_a_later_gateway_that_allows_fewer_routes_keeps_those_there_are(
    hub: HubRouteLedger, journal: Journal, clock: Clock, log: Log
) -> None:
    for name in "abc":
        hub.put(f"/{name}", {"target": TARGET})

    later = gateway(journal, clock, max_routes=2)

    assert list(known(later)) == ["/a", "/b", "/c"]
    assert log.warnings == []
    later.put("/b", {"target": TARGET})
    later.remove("/a")
    with pytest.raises(ValueError, match=r"hub\.maxRoutes"):
        later.put("/d", {"target": TARGET})


def test_a_retired_gateway_changes_nothing(hub: HubRouteLedger, journal: Journal, clock: Clock) -> None:
    hub.put("/user/alice", {"target": TARGET})
    hub.retire()
    later = gateway(journal, clock)
    later.put("/user/bob", {"target": TARGET})

    with pytest.raises(Retired):
        hub.put("/user/carol", {"target": TARGET})
    with pytest.raises(Retired):
        hub.remove("/user/alice")
    hub.retire()

    assert list(known(hub)) == ["/user/alice"]
    assert list(known(gateway(journal, clock))) == ["/user/alice", "/user/bob"]


def test_what_is_refused_is_not_kept(hub: HubRouteLedger, journal: Journal, clock: Clock) -> None:
    with pytest.raises(ValueError, match="target"):
        hub.put("/a", {"target": "ftp://x"})

    assert known(hub) == known(gateway(journal, clock)) == {}


def test_a_journal_is_bounded_however_often_routes_change(hub: HubRouteLedger, journal: Journal) -> None:
    hub.put("/stays", {"target": TARGET})
    filling = "x" * 4000

    for number in range(2000):
        hub.put(f"/user/{number}", {"target": TARGET, "filling": filling})
        hub.remove(f"/user/{number}")
        assert len(journal) <= MIB
        assert os.fstat(journal.descriptor).st_size <= 3 * MIB

    assert list(known(hub)) == ["/stays"]
    assert json.loads(journal.lines()[0])["put"] == "/stays"


def test_a_journal_of_many_routes_is_not_written_anew_for_each_change(
    hub: HubRouteLedger, journal: Journal, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    filling = "x" * 4000
    for number in range(500):
        hub.put(f"/user/{number}", {"target": TARGET, "filling": filling})
    replace = Mock(side_effect=Journal(journal.descriptor).replace)
    monkeypatch.setattr(Journal, "replace", replace)

    for number in range(3000):
        hub.put(f"/user/{number % 500}", {"target": TARGET, "filling": filling})

    assert 1 <= replace.call_count <= 3
    assert known(gateway(journal, clock)) == known(hub)


# -- from replica to replica ------------------------------------------------------------------------------


def test_a_gateway_knows_what_the_one_before_was_told_last(
    hub: HubRouteLedger, journal: Journal, clock: Clock
) -> None:
    hub.put("/user/ada", {"target": TARGET})
    hub.put("/user/grace", {"target": TARGET})
    hub.remove("/user/grace")
    before = list(hub.changes())
    clock.now = 1.0  # set right meanwhile
    for later in (gateway(journal, clock), gateway(journal, clock)):
        assert list(later.changes()) == before
        assert later.digest == hub.digest
        assert not later.merge(Change("/user/grace", 1000.0, {"target": TARGET}))
    later.remove("/user/ada")
    assert not hub.merge(Change("/user/ada", 1000.0, {"target": TARGET}))
    assert all(hub.merge(change) for change in later.changes() if change.routespec == "/user/ada")
    assert list(known(hub)) == []


def test_what_another_replica_was_told_outlives_a_gateway(
    hub: HubRouteLedger, journal: Journal, clock: Clock
) -> None:
    hub.put("/user/grace", {"target": TARGET})
    assert hub.merge(Change("/user/ada", 5.0, {"target": TARGET}, 7.0))
    assert hub.merge(Change("/user/grace", 1001.0, None))
    assert known(gateway(journal, clock)) == known(hub) == {"/user/ada": ({"target": TARGET}, 7.0)}


def test_what_is_no_news_tells_of_activity_all_the_same(hub: HubRouteLedger) -> None:
    hub.put("/user/alice", {"target": TARGET})
    assert not hub.merge(Change("/user/alice", 900.0, {"target": "http://10.0.0.9:1"}, 2000.0))
    assert known(hub) == {"/user/alice": ({"target": TARGET}, 2000.0)}


def test_a_late_change_of_a_route_makes_it_no_less_active(
    hub: HubRouteLedger, activity: HubActivity, journal: Journal, clock: Clock
) -> None:
    added(hub, "/user/alice")
    activity.heard("/user/alice", 3000.0)
    assert hub.merge(Change("/user/alice", 2000.0, {"target": "http://10.0.0.9:1"}, 2000.0))
    assert active(hub) == 3000.0
    hub.retire()
    assert active(gateway(journal, clock)) == 3000.0


def test_one_host_is_one_route_at_all_replicas(journal: Journal, clock: Clock) -> None:
    hub = gateway(journal, clock, host_routing=True)
    hub.put("/Ada.example.org/user/ada", {"target": TARGET})
    assert hub.merge(Change("/ada.example.org/user/ada", 1001.0, None))
    assert known(hub) == {}


def test_what_cannot_be_had_here_is_no_news_a_second_time(hub: HubRouteLedger) -> None:
    change = Change("/a", 1.0, {"target": "ftp://x"})
    with pytest.raises(ValueError, match="target"):
        hub.merge(change)
    assert not hub.merge(change)
    assert known(hub) == {}
    with pytest.raises(ValueError, match="No request"):
        hub.merge(Change("/a/../b", 1.0, {"target": TARGET}))


def test_a_retired_gateway_and_one_without_memory_take_nothing_over(journal: Journal, clock: Clock) -> None:
    hub = ledger(HubRoutes(RouteTable(()), Hub(enabled=True)), Full(journal.descriptor), clock)
    with pytest.raises(OSError, match="no memory"):
        hub.merge(Change("/a", 1.0, {"target": TARGET}))
    hub.retire()
    with pytest.raises(Retired):
        hub.merge(Change("/a", 1.0, {"target": TARGET}))
    assert known(hub) == {}


def test_routes_may_change_while_they_are_told(hub: HubRouteLedger) -> None:
    for name in "abc":
        hub.put(f"/{name}", {"target": TARGET})
    told = hub.changes()
    first = next(told)
    hub.remove("/b")
    hub.put("/c", {"target": "http://10.0.0.2:8888"})
    said = [(change.routespec, change.data) for change in (first, *told)]
    assert said == [("/a", {"target": TARGET}), ("/c", {"target": "http://10.0.0.2:8888"}), ("/b", None)]


# -- without memory ---------------------------------------------------------------------------------------


class Full(Journal):
    """A journal for which there is no memory."""

    def append(self, line: bytes) -> None:
        raise OSError("no memory")

    def replace(self, lines: Iterable[bytes]) -> None:
        raise OSError("no memory")


def test_what_cannot_be_kept_for_the_next_gateway_is_not_done(journal: Journal, clock: Clock) -> None:
    hub = ledger(HubRoutes(RouteTable(()), Hub(enabled=True)), journal, clock)
    hub.put("/user/ada", {"target": TARGET})
    full = ledger(hub.routes, Full(journal.descriptor), clock)

    with pytest.raises(OSError, match="no memory"):
        full.put("/user/grace", {"target": TARGET})
    with pytest.raises(OSError, match="no memory"):
        full.put("/user/ada", {"target": "http://10.0.0.2:8888"})
    with pytest.raises(OSError, match="no memory"):
        full.remove("/user/ada")

    assert {route.routespec: route.data["target"] for route in full} == {"/user/ada": TARGET}


def test_without_memory_a_gateway_retires_and_another_takes_over_all_the_same(
    journal: Journal, clock: Clock, log: Log
) -> None:
    hub = gateway(journal, clock)
    hub.put("/user/ada", {"target": TARGET})
    hub.put("/user/grace", {"target": TARGET})
    hub.remove("/user/grace")
    full = Full(journal.descriptor)
    before = ledger(hub.routes, full, clock)
    before.retire()
    with pytest.raises(Retired):
        before.remove("/user/ada")
    after = ledger(HubRoutes(RouteTable(()), Hub()), full, clock)
    after.take_over()

    assert list(known(after)) == ["/user/ada"]
    assert [warning["event"] for warning in log.warnings] == ["no memory to rewrite the routes"] * 2


def test_a_change_that_can_be_kept_is_made_though_the_journal_cannot_be_written_anew(
    hub: HubRouteLedger, journal: Journal, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Journal, "replace", Full.replace)
    filling = "x" * 4000
    for number in range(300):
        hub.put("/user/ada", {"target": TARGET, "filling": filling, "number": number})

    assert len(journal) > MIB
    assert known(gateway(journal, clock)) == known(hub)
