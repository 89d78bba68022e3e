"""What the public listener answers itself: capacity, the start gate and the badge's script.

Rules of this file: only signed-in users get figures (`GatewayView.authenticated`), everyone gets the
script; no answer names users or routes. The gate takes no slot, it only says whether one is free now,
so a start may still be refused a moment later.

The paths without prefix are those a Hopsworks front end may use. A route that matches them wins; the
same answers are always found below `/.bascule/`, which no route can take. Paths are read as the
route table reads them (`bascule.protocol.path`), not as aiohttp does, which undoes escapes.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final

from aiohttp import web

from bascule.admin.assets import admin_folder, load
from bascule.admin.capacity import cluster_json, instance_json, pool_full_json
from bascule.admin.jsonanswer import json_answer
from bascule.admin.problem import Problem
from bascule.configuration.templates import RESERVED_SEGMENT

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from bascule.admin.cluster import Cluster
    from bascule.admin.view import GatewayView

    PublicHandler = Callable[[web.BaseRequest], Awaitable[web.Response]]

__all__ = ["HUB_PROBE", "PUBLIC_PATHS", "PublicAnswers", "capacities"]

PUBLIC_PATHS: Final = frozenset({(b"api", b"capacity"), (b"api", b"capacity", b"admission")})
"""Answered here unless a route matches them first; `/.bascule/` is always answered here."""

HUB_PROBE: Final = b"_chp_healthz"
"""Where JupyterHub's chart checks whether its proxy is alive; answered here when we are that proxy."""

_BADGE_MAX_AGE: Final = 3600
_RETRY_AFTER: Final = (10, 20)
"""Bounds of Retry-After in seconds, drawn at random: users refused together do not return together."""


class PublicAnswers:
    """Answers the public listener's own paths.

    Args:
        view: The gateway.
        cluster: All instances together.
    """

    def __init__(self, view: GatewayView, cluster: Cluster) -> None:
        self._view = view
        self._cluster = cluster
        self._badge = load(admin_folder(), "badge.js")
        self._handlers: dict[tuple[bytes, ...], tuple[str, PublicHandler]] = {
            (b"api", b"capacity"): ("GET", self.capacity),
            (b"api", b"capacity", b"admission"): ("POST", self.admission),
            (RESERVED_SEGMENT, b"capacity"): ("GET", self.capacity),
            (RESERVED_SEGMENT, b"capacity", b"admission"): ("POST", self.admission),
            (RESERVED_SEGMENT, b"badge.js"): ("GET", self.badge),
            (HUB_PROBE,): ("GET", self.probe),
        }

    async def handle(self, request: web.BaseRequest, segments: Sequence[bytes]) -> web.Response:
        """Answer a request whose path is ours: in `PUBLIC_PATHS`, `HUB_PROBE`, or below `/.bascule/`.

        Args:
            request: The request.
            segments: Its path, in the normal reading.

        Cancellation: safe.
        """
        known = self._handlers.get(tuple(segments))
        if known is None:
            return Problem(404, "There is nothing at this path.").response()
        method, handler = known
        if request.method != method and not (method == "GET" and request.method == "HEAD"):
            allow = "GET, HEAD" if method == "GET" else method
            return Problem(405, "This path does not support the method.", fields={"Allow": allow}).response()
        try:
            return await handler(request)
        except Problem as problem:
            return problem.response()

    async def capacity(self, request: web.BaseRequest) -> web.Response:
        """Tell how full this instance and the cluster are.

        Cancellation: safe.
        """
        self._demand_sign_in(request)
        return json_answer(await capacities(request.query, self._view, self._cluster))

    async def admission(self, request: web.BaseRequest) -> web.Response:
        """Tell whether a session may be started: 204, or 503 in the shape of Hopsworks's errors.

        Cancellation: safe.
        """
        self._demand_sign_in(request)
        pool = self._view.capacity()
        if pool.in_flight < pool.max and not self._view.draining:
            return web.Response(status=204, headers={"Cache-Control": "no-store"})
        # Not a secret: the draw only spreads the retries.
        retry_after = random.randint(*_RETRY_AFTER)
        return json_answer(pool_full_json(), status=503, fields={"Retry-After": str(retry_after)})

    async def badge(self, request: web.BaseRequest) -> web.Response:
        """Send the web component.

        Cancellation: safe.
        """
        return self._badge.response(request, max_age=_BADGE_MAX_AGE)

    async def probe(self, request: web.BaseRequest) -> web.Response:
        """Say that this process answers, in the words of configurable-http-proxy.

        Cancellation: safe.
        """
        return json_answer({"status": "OK"})

    def _demand_sign_in(self, request: web.BaseRequest) -> None:
        if not self._view.authenticated(request):
            challenge = {"WWW-Authenticate": self._view.config.auth.session.challenge}
            raise Problem(401, "Only signed-in users may see the capacity.", fields=challenge)


async def capacities(query: Mapping[str, str], view: GatewayView, cluster: Cluster) -> dict[str, object]:
    """Return how full this instance and the cluster are, or only the one that ``scope`` names.

    Raises:
        Problem: 400, ``scope`` names neither.

    Cancellation: safe.
    """
    scope = query.get("scope")
    if scope not in (None, "instance", "cluster"):
        raise Problem(400, "scope must be instance or cluster.", parameter="scope")
    body: dict[str, object] = {}
    if scope != "cluster":
        body["instance"] = instance_json(view.capacity())
    if scope != "instance":
        body["cluster"] = cluster_json(await cluster.read())
    return body
