"""Answers the other instances that share JupyterHub's routes with this one.

Three calls, with the admin token, in lines of JSON:

``POST /hub/changes``
    Changes that the Hub has just told another instance. That instance waits for our answer, at most
    `capacity.peerTimeout`, before it answers the Hub: right after that the Hub sends the user to the new
    server, through any instance.
``GET /hub/changes``
    All routes and the latest removals; 304 where ``If-None-Match`` holds the digest of our routes.
``GET /hub/activity``
    When each route last had activity. An instance asks the others when the Hub asks it for that.

`bascule.admin.hubsharing` is the side that asks.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Final

import structlog
from aiohttp import web

from bascule.admin.hublines import ACTIVITY, CHANGES, merge, send_lines
from bascule.admin.problem import Problem, ask_again
from bascule.admin.view import Retired

if TYPE_CHECKING:
    from bascule.admin.listing import SessionList
    from bascule.admin.view import HubView

__all__ = ["HubAnswers"]

_log = structlog.get_logger()

_MOST_BYTES: Final = 1 << 18
"""Longest body of changes. A change has 200 KB at most: JSON of JupyterHub's 64 KiB, with its escapes."""


class HubAnswers:
    """Answers the calls.

    Args:
        hub: The routes here, and their activity.
        sessions: The live sessions here, which show where users are active.
        patience: Seconds that the body of a request may take, `capacity.peerTimeout`.
    """

    def __init__(self, hub: HubView, sessions: SessionList, patience: float) -> None:
        self._routes = hub.routes
        self._activity = hub.activity
        self._sessions = sessions
        self._patience = patience

    def add_to(self, app: web.Application) -> None:
        """Serve the calls."""
        app.router.add_get(CHANGES, self._read, allow_head=False)
        app.router.add_post(CHANGES, self._take)
        app.router.add_get(ACTIVITY, self._tell_activity, allow_head=False)

    async def _read(self, request: web.Request) -> web.StreamResponse:
        digest = self._routes.digest
        fields = {"ETag": f'"{digest}"', "Cache-Control": "no-store"}
        if any(tag.value == digest for tag in request.if_none_match or ()):
            return web.Response(status=304, headers=fields)
        return await send_lines(request, (change.encode() for change in self._routes.changes()), fields)

    async def _take(self, request: web.Request) -> web.Response:
        try:
            async with asyncio.timeout(self._patience):
                body = await request.content.read(_MOST_BYTES)
                while not request.content.at_eof() and len(body) < _MOST_BYTES:
                    body += await request.content.read(_MOST_BYTES - len(body))
        except TimeoutError:
            raise Problem(408, "The body of the request did not arrive in time.") from None
        if not request.content.at_eof():
            raise Problem(413, f"The body is larger than {_MOST_BYTES} bytes.")
        try:
            for line in body.splitlines():
                if (change := merge(self._routes, line)) is not None:
                    said = "route removed" if change.data is None else "route added"
                    _log.info(said, routespec=change.routespec, by="a peer")
        except (Retired, OSError) as error:
            raise ask_again(error) from None
        except ValueError:
            raise Problem(400, "Each line of the body must be a change of a route, in JSON.") from None
        return web.Response(status=204)

    async def _tell_activity(self, request: web.Request) -> web.StreamResponse:
        self._activity.observe(await self._sessions.rows())
        times = (json.dumps([route.routespec, route.last_activity]).encode() for route in list(self._routes))
        return await send_lines(request, times, {"Cache-Control": "no-store"})
