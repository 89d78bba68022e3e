"""When JupyterHub's routes last had activity.

Activity is what a user does: a data frame from the browser, each part of a plain request's body, and the
end of an answer to any plain request, if its status is below 300. Pongs, pings, heartbeats, redirects
and errors do not count, nor does what an upstream sends of its own accord; so a kernel that pings an
open tab does not keep its server alive.

We do not measure when a browser sent each data frame. If a browser has sent any between two looks at
the sessions, we take the time of the session's last data frame in either direction, which is known
anyway.

Rules of this file: it notes times in memory and keeps nothing (`bascule.gateway.hubledger` does).
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from bascule.admin.view import SessionRow
    from bascule.configuration.hubroute import HubRoute
    from bascule.policy.hubroutes import HubRoutes

__all__ = ["HubActivity"]


class HubActivity:
    """Notes activity on the routes: implements `bascule.admin.view.HubActivityView`.

    Args:
        routes: The table; a route's `last_activity` is where its activity is noted.
        clock: Seconds since the epoch.

    Attributes:
        unkept: Routespecs with activity that the next gateway could not know yet.
    """

    def __init__(self, routes: HubRoutes, clock: Callable[[], float] = time.time) -> None:
        self.unkept: set[str] = set()
        self._routes = routes
        self._clock = clock
        self._frames: dict[int, int] = {}

    def touch(self, route: HubRoute) -> None:
        """Note activity on a route, just now."""
        route.last_activity = self._clock()
        self.unkept.add(route.routespec)

    def observe(self, sessions: Iterable[SessionRow]) -> None:
        """Note activity for each session whose browser has sent data frames since the last call.

        Args:
            sessions: All live sessions.
        """
        now = self._clock()
        before, self._frames = self._frames, {}
        for session in sessions:
            identifier = int(session.id, 16)
            known = before.get(identifier, 0)
            # 0 may also mean that its forwarder did not list its sessions in time.
            self._frames[identifier] = max(known, session.frames_in)
            if session.frames_in > known:
                self.heard(session.route, now - session.idle)

    def carried(self, identifier: int, frames_in: int) -> None:
        """Note how many data frames a session that we take over has sent: they are no new activity.

        Args:
            identifier: The session.
            frames_in: Data frames from its browser so far; when they came is not known.
        """
        self._frames[identifier] = frames_in

    def ended(self, identifier: int, routespec: str, frames_in: int, idle: float) -> None:
        """Note activity of a session that has ended, if its browser has sent data frames since the last look.

        Args:
            identifier: The session.
            routespec: Its route.
            frames_in: Data frames from its browser, in all.
            idle: Seconds from its last data frame to its end.
        """
        if frames_in > self._frames.pop(identifier, 0):
            self.heard(routespec, self._clock() - idle)

    def heard(self, routespec: str, at: float) -> None:
        """Note activity on a route, here or at another instance, unless later activity is known.

        Args:
            routespec: The route; one that is not known is left out.
            at: Seconds since the epoch.
        """
        route = self._routes.get(routespec)
        if route is not None and route.last_activity < at:
            route.last_activity = at
            self.unkept.add(route.routespec)
