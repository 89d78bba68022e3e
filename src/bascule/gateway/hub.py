"""JupyterHub's routes: taken from it, kept for the next gateway, shared, and who is active on them.

What counts as activity is what somebody does: a data frame from the browser, a plain request that has a
body, and an answer to any whose status is below 300, when it is over. Pongs, pings, heartbeats, redirects
and errors do not, nor does what an upstream says of its own accord; so a kernel that pings an open
tab does not keep its server.

When a session's browser last sent a data frame is not measured for each frame. Between two looks at
the sessions a browser that sent any has been active, at the time of the last data frame of either
direction, which is there already.
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any, Final

import structlog

from bascule.admin.view import Retired
from bascule.policy.hubchanges import Change, LastChanges
from bascule.policy.hubroutes import read_routespec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from bascule.admin.view import SessionRow
    from bascule.handover.journal import Journal
    from bascule.policy.hubroutes import HubRoute, HubRoutes

__all__ = ["HubLedger"]

_log = structlog.get_logger()

_GROWN: Final = 4
"""How many times its smallest length the journal may have before it is written anew."""

_LEAST: Final = 1 << 20
"""Bytes below which it is never written anew."""

_AT_ONCE: Final = 500
"""Routes whose activity is written before others have a turn of the loop: some milliseconds."""


class HubLedger:
    """The routes and their activity: implements `bascule.admin.view.HubView`.

    Args:
        routes: The table, still without JupyterHub's routes.
        journal: Where they are kept.
        clock: Seconds since the epoch.

    Attributes:
        routes: The table.
        complete: Set when all routes are known, as far as other replicas know any.
        peers_failing: Other replicas that do not share their routes with this one.
    """

    def __init__(
        self,
        routes: HubRoutes,
        journal: Journal,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.routes = routes
        self.complete = asyncio.Event()
        self.complete.set()
        self.peers_failing = 0
        self._changes = LastChanges()
        self._journal = journal
        self._clock = clock
        self._retired = False
        self._rewritten = 0
        self._frames: dict[int, int] = {}
        self._stirred: set[str] = set()

    # -- life -----------------------------------------------------------------------------

    def take_over(self) -> None:
        """Read what the gateway before has left; it writes nothing more."""
        for line in self._journal.lines():
            said: dict[str, Any] = json.loads(line)
            try:
                self._replay(said)
            except ValueError as error:  # what can be had has changed with the configuration
                _log.warning("a route was not taken over", problem=str(error))
        self._write_anew()
        if self.routes:
            _log.info("JupyterHub's routes taken over", routes=len(self.routes))

    def _replay(self, said: dict[str, Any]) -> None:
        if (times := said.get("stirred")) is not None:
            for routespec, at in times.items():
                self.heard(routespec, at)
            return
        change = Change.read(said)
        key = self.routes.key(change.routespec)
        try:
            self._put_in_place(change)
        finally:
            self._changes.note(key, change)  # what cannot be used here is not asked for again

    def retire(self) -> None:
        """Leave the routes to another gateway, with what is known of their activity if there is memory."""
        if not self._retired:
            self._retired = True
            self._write_anew()

    # -- routes ---------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self.routes)

    def __iter__(self) -> Iterator[HubRoute]:
        return iter(self.routes)

    def get(self, routespec: str) -> HubRoute | None:
        """Return a route."""
        return self.routes.get(routespec)

    def put(self, routespec: str, data: Mapping[str, object]) -> Change:
        """Add a route, or put it in the place of another; return what other replicas are to be told.

        Raises:
            ValueError: It cannot be used; the text says why.
            Retired: Ask again.
            OSError: There is no memory to keep it for the next gateway. Nothing was changed.
        """
        self._make_room()
        routespec, _ = read_routespec(routespec)
        key, now = self.routes.key(routespec), self._clock()
        change = Change(routespec, self._changes.after(key, now), data, now)
        self._do(key, change, bounded=True)
        _log.info("route added", routespec=routespec, target=data["target"])
        return change

    def remove(self, routespec: str) -> Change | None:
        """Remove a route; return what other replicas are to be told, ``None`` if there was no such route.

        What it carries goes on.

        Raises:
            Retired: Ask again.
            OSError: There is no memory to remember it for the next gateway. Nothing was changed.
        """
        self._make_room()
        if (route := self.routes.get(routespec)) is None:
            return None
        key = self.routes.key(routespec)
        change = Change(route.routespec, self._changes.after(key, self._clock()), None)
        self._do(key, change)
        _log.info("route removed", routespec=route.routespec)
        return change

    def _do(self, key: str, change: Change, *, bounded: bool = False) -> None:
        """Do what was said, and keep it for the next gateway.

        Raises:
            ValueError: It cannot be used. Nothing was changed.
            OSError: There is no memory. Nothing was changed.
        """
        before = self.routes.get(change.routespec)
        self._put_in_place(change, bounded=bounded)
        try:
            self._journal.append(change.encode())
        except OSError:
            self.routes.remove(change.routespec)
            if before is not None:
                self.routes.put(before.routespec, before.data, before.last_activity, bounded=False)
            raise
        self._changes.note(key, change)

    def _put_in_place(self, change: Change, *, bounded: bool = False) -> None:
        if change.data is None:
            self.routes.remove(change.routespec)
        else:
            self.routes.put(change.routespec, change.data, change.active, bounded=bounded)

    def _make_room(self) -> None:
        """Have room for another line, before anything is changed."""
        if self._retired:
            raise Retired
        self._trim()

    def _trim(self) -> None:
        if len(self._journal) > max(_LEAST, _GROWN * self._rewritten):
            self._write_anew()

    def _write_anew(self) -> None:
        """Write all routes as they are now; where there is no memory, the journal stays as good as it was."""
        try:
            self._journal.replace(change.encode() for change in self.changes())
        except OSError as error:
            # All routes are in it, and none but those: only longer than need be, and with older activity.
            _log.warning("no memory to rewrite the routes", error=str(error))
            return
        self._rewritten = len(self._journal)
        self._stirred.clear()

    # -- other replicas -------------------------------------------------------------------

    @property
    def digest(self) -> str:
        """What replicas with the same routes have in common."""
        return self._changes.digest

    def changes(self) -> Iterator[Change]:
        """Return what makes another replica have these routes: all of them, and the latest that are gone.

        Routes may be added and removed meanwhile.
        """
        for key in self.routes.known_keys():
            if (route := self.routes.by_key(key)) is not None:
                yield Change(route.routespec, self._changes.at(key), route.data, route.last_activity)
        yield from self._changes.gone(self._clock())

    def merge(self, change: Change) -> bool:
        """Do what another replica was told, unless something later is known; tell whether it was done.

        Raises:
            ValueError: It cannot be used here. Nothing was changed, and it is no news any more.
            Retired: Ask again.
            OSError: There is no memory to keep it for the next gateway. Nothing was changed.
        """
        key = self.routes.key(change.routespec)
        if not self._changes.is_news(key, change):
            self.heard(change.routespec, change.active)
            return False
        self._make_room()
        try:
            self._do(key, change)
        except ValueError:
            self._changes.note(key, change)
            raise
        return True

    # -- activity -------------------------------------------------------------------------

    def touch(self, route: HubRoute) -> None:
        """Note that somebody did something there just now."""
        route.last_activity = self._clock()
        self._stirred.add(route.routespec)

    def observe(self, sessions: Iterable[SessionRow]) -> None:
        """Note on whose sessions a browser has sent something since this was last called.

        Args:
            sessions: All there are.
        """
        now = self._clock()
        before, self._frames = self._frames, {}
        for session in sessions:
            identifier = int(session.id, 16)
            known = before.get(identifier, 0)
            # A forwarder that was not heard in time has told nothing of it, which is shown as 0.
            self._frames[identifier] = max(known, session.frames_in)
            if session.frames_in > known:
                self.heard(session.route, now - session.idle)

    async def keep_activity(self) -> None:
        """Write down what has become active, so that a gateway which dies does not take it along.

        Called when the Hub asks, every few minutes: a line for each request is too much.

        Cancellation: safe; what is not written yet is the next time.
        """
        stirred = list(self._stirred)
        for begin in range(0, len(stirred), _AT_ONCE):
            if self._retired:
                return
            some = stirred[begin : begin + _AT_ONCE]
            times = {each: route.last_activity for each in some if (route := self.routes.get(each))}
            self._trim()
            try:
                self._journal.append(json.dumps({"stirred": times}).encode())
            except OSError:  # no memory: the next time
                return
            self._stirred.difference_update(some)
            await asyncio.sleep(0)

    def carried(self, identifier: int, frames_in: int) -> None:
        """Note what a session of the gateway before had received till now; when it did is not known."""
        self._frames[identifier] = frames_in

    def ended(self, identifier: int, routespec: str, frames_in: int, idle: float) -> None:
        """Note what a session had received at its end, and for how many seconds nothing had moved by then."""
        if frames_in > self._frames.pop(identifier, 0):
            self.heard(routespec, self._clock() - idle)

    def heard(self, routespec: str, at: float) -> None:
        """Note that somebody was active on a route then, here or at another replica."""
        route = self.routes.get(routespec)
        if route is not None and route.last_activity < at:
            route.last_activity = at
            self._stirred.add(route.routespec)
