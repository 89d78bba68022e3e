"""`/api/routes`: the REST API by which JupyterHub tells configurable-http-proxy its routes.

The statuses are those of configurable-http-proxy, since JupyterHub relies on them: 201 added, 204 removed,
400 not usable, 403 without the token, 404 unknown. The bodies of errors are our own, since only people read
them. A routespec is the path behind ``/api/routes``, unescaped as a whole, as in configurable-http-proxy.
Where that path is empty or a slash, POST and DELETE mean the route ``/``, but GET means all routes; so the
route ``/`` cannot be read alone.
"""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from aiohttp import web

from bascule.admin.datestamp import ALLOWED, seconds_since_epoch
from bascule.admin.jsonanswer import json_text
from bascule.admin.problem import Problem, ask_again
from bascule.admin.view import Retired
from bascule.policy.hubroutes import read_routespec
from bascule.policy.jsonagain import DEEPEST, check_writable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bascule.admin.hubsharing import HubSharing
    from bascule.admin.listing import SessionList
    from bascule.admin.view import HubView
    from bascule.configuration.hubroute import HubRoute
    from bascule.policy.hubchanges import Change

__all__ = ["BODY_BYTES", "PATH", "HubApi"]

PATH: Final = "/api/routes"

BODY_BYTES: Final = 65536
"""Longest body of a request. JupyterHub's have some hundred bytes."""

_AT_ONCE: Final = 200
"""Routes written without a pause: some 2 ms of the gateway's only thread."""

_INACTIVE_SINCE: Final = ("inactiveSince", "inactive_since")
"""Both spellings are in use; the first one that is present counts."""


class HubApi:
    """Answers the calls.

    Args:
        hub: The routes, and their activity.
        sessions: The live sessions, which show where users are active.
        within: Seconds that the body of a request may take.
        sharing: Tells the other instances what JupyterHub tells us; ``None`` where routes are not shared.
    """

    def __init__(
        self, hub: HubView, sessions: SessionList, within: float, sharing: HubSharing | None
    ) -> None:
        self._routes = hub.routes
        self._activity = hub.activity
        self._sessions = sessions
        self._within = within
        self._sharing = sharing

    def add_to(self, app: web.Application) -> None:
        """Serve the calls."""
        one = PATH + "/{routespec:(?s:.*)}"  # a dot alone is no line feed, which a path can hold as %0A
        for path in (PATH, one):
            app.router.add_get(path, self._read, allow_head=False)
            app.router.add_post(path, self._put)
            app.router.add_delete(path, self._remove)

    async def _read(self, request: web.Request) -> web.Response:
        routespec = _routespec(request)
        since = None if routespec else _since(request.query)
        self._activity.observe(await self._sessions.rows())
        if self._sharing is not None:
            await self._sharing.collect_activity()
        await self._routes.keep_activity()
        if routespec:
            route = self._routes.get(_normal(routespec))
            if route is None:
                raise Problem(404, "There is no such route.")
            return json_text(_route_json(route))
        return json_text("{" + ", ".join(await self._written(since)) + "}")

    async def _written(self, since: float | None) -> list[str]:
        """Write the routes that have been inactive since a time, with pauses so that upgrades do not wait."""
        written = []
        for number, route in enumerate(list(self._routes), 1):
            if since is None or route.last_activity < since:
                written.append(f"{json.dumps(route.routespec)}: {_route_json(route)}")
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)
        return written

    async def _put(self, request: web.Request) -> web.Response:
        try:
            async with asyncio.timeout(self._within):
                data = _read_json(await request.read())
        except TimeoutError:
            raise Problem(408, "The body of the request did not arrive in time.") from None
        except web.HTTPRequestEntityTooLarge:
            raise Problem(413, f"The body is larger than {BODY_BYTES} bytes.") from None
        if not isinstance(data, dict):
            raise Problem(400, "The body is not a JSON object.")
        try:
            change = self._routes.put(_routespec(request) or "/", data)
        except ValueError as error:
            raise Problem(400, str(error)) from None
        except (Retired, OSError) as error:
            raise ask_again(error) from None
        await self._tell(change)
        return web.Response(status=201, headers={"Cache-Control": "no-store"})

    async def _remove(self, request: web.Request) -> web.Response:
        try:
            change = self._routes.remove(_normal(_routespec(request) or "/"))
        except (Retired, OSError) as error:
            raise ask_again(error) from None
        if change is None:
            raise Problem(404, "There is no such route.")
        await self._tell(change)
        return web.Response(status=204)

    async def _tell(self, change: Change) -> None:
        if self._sharing is not None:
            await self._sharing.tell(change)


def _read_json(body: bytes) -> object:
    """Parse a body.

    Raises:
        Problem: 400, it is not JSON, or cannot be written as JSON again (1e999, too deep).
    """
    try:
        data: object = json.loads(body)
        check_writable(data)
    except json.JSONDecodeError as error:  # its text names the place, and repeats nothing
        raise Problem(400, f"Body not valid JSON: {error}.") from None
    except UnicodeDecodeError:
        raise Problem(400, "Body not valid JSON: it is not UTF-8.") from None
    except RecursionError:
        raise Problem(400, f"The body is nested deeper than {DEEPEST} levels.") from None
    except ValueError:
        raise Problem(400, "The body has a number that JSON cannot hold.") from None
    return data


def _routespec(request: web.Request) -> str:
    """Return what is behind the path of the API, unescaped; empty for all routes.

    Raises:
        Problem: 400, it is not UTF-8.
    """
    # Cut off by counting slashes: the router also accepts the API's path with escaped letters.
    behind = request.rel_url.raw_path.split("/")[PATH.count("/") + 1 :]
    try:
        return unquote("/".join(behind), errors="strict")
    except UnicodeDecodeError:
        raise Problem(400, "The path of the route is not UTF-8.") from None


def _normal(routespec: str) -> str:
    """Return a routespec in the form in which routes are kept; unchanged if no route can have it."""
    try:
        return read_routespec(routespec)[0]
    except ValueError:
        return routespec


def _since(query: Mapping[str, str]) -> float | None:
    """Read the time since which a route must have been inactive, in seconds since the epoch, or ``None``.

    Raises:
        Problem: 400, the parameter is no time.
    """
    for name in _INACTIVE_SINCE:
        if name in query:
            try:
                return seconds_since_epoch(query[name])
            except ValueError:
                raise Problem(400, f"Invalid datestamp: must be {ALLOWED}.", parameter=name) from None
    return None


def _route_json(route: HubRoute) -> str:
    time = datetime.fromtimestamp(route.last_activity, UTC).isoformat(timespec="milliseconds")
    host = {} if route.host is None else {"host": route.host}
    return json.dumps({**route.data, **host, "last_activity": time.replace("+00:00", "Z")})
