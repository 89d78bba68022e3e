"""The status page shows every route, and of JupyterHub's the busiest."""

from __future__ import annotations

from bascule.admin.cluster import Cluster
from bascule.admin.instanceclient import InstanceClient
from bascule.admin.listing import SessionList
from bascule.admin.overview import overview
from bascule.configuration.config import Hub
from bascule.vocabulary import Kind
from tests.admin.fake_view import ROUTES, FakeView, config


async def shown_of(view: FakeView) -> dict[str, object]:
    return await overview(view, SessionList(view), Cluster(view, InstanceClient(view.config), "a"))


async def test_sessions_are_counted_by_route_also_those_without_sessions() -> None:
    view = FakeView(config())
    shot = await shown_of(view)
    assert shot["routes"] == [
        {
            "name": route.name,
            "kind": route.kind.value,
            "path": route.path,
            "sessions": 0,
            "max": route.max_sessions,
        }
        for route in view.config.routes
    ]
    assert shot["cluster"] is None


async def test_of_the_routes_of_the_hub_the_busiest_are_shown_behind_those_of_the_configuration() -> None:
    view = FakeView(config(), sessions=0)
    view.hub_ledger.put("/user/ada", {"target": "http://127.0.0.1:1"})
    view.hub_ledger.put("/user/idle", {"target": "http://127.0.0.1:1"})
    view.hub_ledger.put("/user/grace", {"target": "http://127.0.0.1:1"})
    for routespec in ("/user/grace", "/user/ada", "/user/grace", "/user/gone"):
        view.open(kind=Kind.JUPYTER, route=routespec)

    shown = (await shown_of(view))["routes"]

    assert isinstance(shown, list)
    assert [route["name"] for route in shown[: len(ROUTES)]] == [route.name for route in ROUTES]
    assert shown[len(ROUTES) :] == [
        {"name": "/user/grace", "kind": "jupyter", "path": "/user/grace", "sessions": 2, "max": None},
        {"name": "/user/ada", "kind": "jupyter", "path": "/user/ada", "sessions": 1, "max": None},
    ]


async def test_a_route_named_like_a_host_of_the_hub_is_shown_once() -> None:
    view = FakeView(config(hub=Hub(enabled=True, host_routing=True), admin_token="t"), sessions=0)
    view.hub_ledger.put("/lab", {"target": "http://127.0.0.1:1"})
    view.open(kind=Kind.JUPYTER, route="lab")

    shown = (await shown_of(view))["routes"]

    assert isinstance(shown, list)
    assert [route["name"] for route in shown] == [route.name for route in ROUTES]
