"""JupyterHub's routes for the tests of what takes one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bascule.configuration.hub import Hub
from bascule.policy.hubroutes import HubRoutes
from bascule.policy.routes import Match, RouteTable

if TYPE_CHECKING:
    from bascule.configuration.route import RouteConfig


__all__ = ["ALICE", "BOB", "FRONT", "hit", "table", "taken"]

ALICE = "http://10.0.0.1:8888"
BOB = "http://10.0.0.2:8888"
FRONT = b"hub.example.org"


def table(*routespecs: str, configured: tuple[RouteConfig, ...] = (), **settings: Any) -> HubRoutes:
    """Routes to Alice's server."""
    routes = HubRoutes(RouteTable(configured), Hub(**settings))
    for routespec in routespecs:
        routes.put(routespec, {"target": ALICE}, 0.0)
    return routes


def taken(routes: HubRoutes, raw: bytes, host: bytes = FRONT) -> str | None:
    match = routes.match(raw, host)
    return None if match is None else match.route.name


def hit(routes: HubRoutes, raw: bytes, host: bytes = FRONT) -> Match:
    match = routes.match(raw, host)
    assert match is not None
    return match
