"""When JupyterHub's routes count as active."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bascule.admin.view import SessionRow

if TYPE_CHECKING:
    from bascule.configuration.hubroute import HubRoute
    from bascule.gateway.hubactivity import HubActivity
    from bascule.policy.hubroutes import HubRoutes
    from tests.support.clock import Clock


def add(routes: HubRoutes, routespec: str = "/user/alice") -> HubRoute:
    return routes.put(routespec, {"target": "http://10.0.0.1:8888"}, 1000.0)


def active(routes: HubRoutes, routespec: str = "/user/alice") -> float:
    route = routes.get(routespec)
    assert route is not None
    return route.last_activity


def session(
    number: int, frames_in: int, *, idle: float = 0.0, route: str = "/user/alice", frames_out: int = 0
) -> SessionRow:
    return SessionRow(
        id=f"{number:016x}", route=route, kind="jupyter", user="alice", client="10.1.1.1",
        upstream="10.0.0.1:8888", forwarder=0, age=99.0, idle=idle, round_trip=None, bytes_in=0, bytes_out=0,
        frames_in=frames_in, frames_out=frames_out,
    )  # fmt: skip


def test_a_route_is_active_as_somebody_does_something(
    hub_routes: HubRoutes, activity: HubActivity, clock: Clock
) -> None:
    route = add(hub_routes)
    clock.now = 1003.0
    activity.touch(route)
    assert active(hub_routes) == 1003.0


def test_a_browser_that_has_sent_a_frame_was_active_at_the_last_one(
    hub_routes: HubRoutes, activity: HubActivity, clock: Clock
) -> None:
    add(hub_routes)
    add(hub_routes, "/user/bob")
    clock.now = 1060.0

    activity.observe([session(1, 5, idle=20.0), session(2, 1, idle=30.0)])

    assert (active(hub_routes), active(hub_routes, "/user/bob")) == (1040.0, 1000.0)


def test_a_browser_that_has_sent_nothing_more_is_not_active(
    hub_routes: HubRoutes, activity: HubActivity, clock: Clock
) -> None:
    add(hub_routes)
    clock.now = 1060.0
    activity.observe([session(1, 5, idle=20.0)])

    clock.now = 2000.0
    activity.observe([session(1, 5, idle=0.0, frames_out=999), session(2, 0)])
    assert active(hub_routes) == 1040.0

    clock.now = 3000.0
    activity.observe([session(1, 6, idle=7.0), session(2, 0)])
    assert active(hub_routes) == 2993.0


def test_a_session_whose_forwarder_was_not_heard_once_is_not_active_for_that(
    hub_routes: HubRoutes, activity: HubActivity, clock: Clock
) -> None:
    add(hub_routes)
    activity.observe([session(1, 5)])
    clock.now = 2000.0

    activity.observe([session(1, 0)])
    activity.observe([session(1, 5, frames_out=999)])

    assert active(hub_routes) == 1000.0


def test_activity_never_goes_backwards(hub_routes: HubRoutes, activity: HubActivity, clock: Clock) -> None:
    route = add(hub_routes)
    clock.now = 2000.0
    activity.touch(route)

    activity.observe([session(1, 5, idle=500.0)])
    clock.now = 1900.0
    activity.ended(2, "/user/alice", 5, 0.0)

    assert active(hub_routes) == 2000.0


def test_sessions_of_no_route_are_nobodys_activity(hub_routes: HubRoutes, activity: HubActivity) -> None:
    activity.observe([session(1, 5, route="lab")])
    activity.ended(1, "lab", 6, 0.0)

    assert not list(hub_routes)
    assert not activity.unkept


def test_what_another_gateway_has_seen_is_no_activity(
    hub_routes: HubRoutes, activity: HubActivity, clock: Clock
) -> None:
    add(hub_routes)
    activity.carried(1, 5)
    activity.carried(2, 5)
    clock.now = 1060.0

    activity.observe([session(1, 5), session(2, 5)])
    assert active(hub_routes) == 1000.0

    activity.observe([session(1, 5), session(2, 6)])
    assert active(hub_routes) == 1060.0


@pytest.mark.parametrize(("frames_in", "last"), [(5, 1000.0), (6, 1060.0)])
def test_at_its_end_a_session_counts_what_nobody_has_looked_at(
    hub_routes: HubRoutes, activity: HubActivity, clock: Clock, frames_in: int, last: float
) -> None:
    add(hub_routes)
    activity.carried(1, 5)
    clock.now = 1060.0

    activity.ended(1, "/user/alice", frames_in, 0.0)

    assert active(hub_routes) == last


def test_a_session_that_ends_long_after_its_last_data_was_active_then(
    hub_routes: HubRoutes, activity: HubActivity, clock: Clock
) -> None:
    add(hub_routes)
    clock.now = 5000.0

    activity.ended(1, "/user/alice", 7, 3600.0)

    assert active(hub_routes) == 1400.0


@pytest.mark.parametrize(("frames_in", "last"), [(0, 1000.0), (1, 1060.0)])
def test_a_session_that_nobody_has_ever_looked_at_was_active_if_its_browser_was(
    hub_routes: HubRoutes, activity: HubActivity, clock: Clock, frames_in: int, last: float
) -> None:
    add(hub_routes)
    clock.now = 1060.0

    activity.ended(1, "/user/alice", frames_in, 0.0)

    assert active(hub_routes) == last


@pytest.mark.parametrize(("number", "kept"), [(1, False), (2, False), (3, True)])
def test_of_sessions_that_have_gone_nothing_is_kept(
    hub_routes: HubRoutes, activity: HubActivity, clock: Clock, number: int, kept: bool
) -> None:
    activity.carried(1, 5)
    activity.observe([session(2, 5), session(3, 5)])
    activity.ended(2, "/user/alice", 5, 0.0)
    add(hub_routes)
    clock.now = 1060.0

    activity.ended(number, "/user/alice", 5, 0.0)  # had it been known, none of its frames would be new

    assert active(hub_routes) == (1000.0 if kept else 1060.0)
