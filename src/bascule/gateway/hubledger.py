"""JupyterHub's routes: taken from the Hub, kept for the next gateway, and shared with the other instances.

Each change is a line of a memory file, and so is a batch of activity (`bascule.gateway.hubactivity`): what a
gateway that dies has noted since the last batch is lost.
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
    from collections.abc import Callable, Iterator, Mapping

    from bascule.configuration.hubroute import HubRoute
    from bascule.gateway.hubactivity import HubActivity
    from bascule.handover.journal import Journal
    from bascule.policy.hubroutes import HubRoutes

__all__ = ["HubRouteLedger"]

_log = structlog.get_logger()

_GROWN: Final = 4
"""How many times its smallest length the journal may have before it is written anew."""

_LEAST: Final = 1 << 20
"""Bytes below which it is never written anew."""

_AT_ONCE: Final = 500
"""Routes whose activity is written before others have a turn of the loop: some milliseconds."""


class HubRouteLedger:
    """The routes, as they were told and are kept: implements `bascule.admin.view.HubRoutesView`.

    Args:
        routes: The table, still without JupyterHub's routes.
        activity: Notes activity on the routes of this table.
        journal: Keeps the routes, and their activity, for the next gateway.
        clock: Seconds since the epoch.

    Attributes:
        routes: The table.
    """

    def __init__(
        self,
        routes: HubRoutes,
        activity: HubActivity,
        journal: Journal,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.routes = routes
        self._activity = activity
        self._changes = LastChanges()
        self._journal = journal
        self._clock = clock
        self._retired = False
        self._rewritten = 0

    # -- life -----------------------------------------------------------------------------

    def take_over(self) -> None:
        """Read what the former gateway has left; that gateway must have stopped writing."""
        for line in self._journal.lines():
            said: dict[str, Any] = json.loads(line)
            try:
                self._replay(said)
            except ValueError as error:  # the configuration in force no longer allows this route
                _log.warning("a route was not taken over", problem=str(error))
        self._write_anew()
        if self.routes:
            _log.info("JupyterHub's routes taken over", routes=len(self.routes))

    def _replay(self, said: dict[str, Any]) -> None:
        if (times := said.get("stirred")) is not None:
            for routespec, at in times.items():
                self._activity.heard(routespec, at)
            return
        change = Change.read(said)
        key = self.routes.key(change.routespec)
        try:
            self._put_in_place(change)
        finally:
            self._changes.note(key, change)  # noted, so that we do not ask the instances for it again

    def retire(self) -> None:
        """Leave the routes to another gateway, with their latest activity if there is memory for it."""
        if not self._retired:
            self._retired = True
            self._write_anew()

    async def keep_activity(self) -> None:
        """Write new activity to the journal, so that it outlives this gateway.

        Called when the Hub asks, every few minutes: a line for each request would be too much.

        Cancellation: safe; the next call writes what is not written yet.
        """
        unkept = list(self._activity.unkept)
        for begin in range(0, len(unkept), _AT_ONCE):
            if self._retired:
                return
            some = unkept[begin : begin + _AT_ONCE]
            times = {each: route.last_activity for each in some if (route := self.routes.get(each))}
            self._trim()
            try:
                self._journal.append(json.dumps({"stirred": times}).encode())
            except OSError:  # no memory: the next call tries again
                return
            self._activity.unkept.difference_update(some)
            await asyncio.sleep(0)

    # -- routes ---------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self.routes)

    def __iter__(self) -> Iterator[HubRoute]:
        return iter(self.routes)

    def get(self, routespec: str) -> HubRoute | None:
        """Return a route; ``None`` if there is no such route."""
        return self.routes.get(routespec)

    def put(self, routespec: str, data: Mapping[str, object]) -> Change:
        """Add or replace a route; return the change, for the other instances.

        Raises:
            ValueError: The route cannot be used; the text says why. Nothing was changed.
            Retired: Another gateway is about to take over: the Hub must ask again.
            OSError: There is no memory to keep the route for the next gateway. Nothing was changed.
        """
        self._make_room()
        routespec, _ = read_routespec(routespec)
        key, now = self.routes.key(routespec), self._clock()
        change = Change(routespec, self._changes.after(key, now), data, now)
        self._do(key, change, bounded=True)
        _log.info("route added", routespec=routespec, target=data["target"])
        return change

    def remove(self, routespec: str) -> Change | None:
        """Remove a route; return the change, for the other instances, or ``None`` if there was no such route.

        Its sessions and requests under way go on.

        Raises:
            Retired: Another gateway is about to take over: the Hub must ask again.
            OSError: There is no memory to note the removal for the next gateway. Nothing was changed.
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
        """Make a change, and keep it for the next gateway.

        Raises:
            ValueError: The change cannot be used. Nothing was changed.
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
            before = self.routes.get(change.routespec)
            # A change that reaches us late knows nothing of what has been active here since.
            active = change.active if before is None else max(change.active, before.last_activity)
            self.routes.put(change.routespec, change.data, active, bounded=bounded)

    def _make_room(self) -> None:
        """Rewrite the journal if it has grown too long; call this before anything is changed.

        Raises:
            Retired: Another gateway is about to take over.
        """
        if self._retired:
            raise Retired
        self._trim()

    def _trim(self) -> None:
        if len(self._journal) > max(_LEAST, _GROWN * self._rewritten):
            self._write_anew()

    def _write_anew(self) -> None:
        """Write the journal anew, with all routes as they are now; without memory it stays as it was."""
        try:
            self._journal.replace(change.encode() for change in self.changes())
        except OSError as error:
            # The journal still gives exactly the routes; it is longer than need be, and its activity older.
            _log.warning("no memory to rewrite the routes", error=str(error))
            return
        self._rewritten = len(self._journal)
        self._activity.unkept.clear()

    # -- other instances -------------------------------------------------------------------

    @property
    def digest(self) -> str:
        """A digest of the routes: instances with the same routes have the same digest."""
        return self._changes.digest

    def changes(self) -> Iterator[Change]:
        """Yield the changes that give another instance these routes: all routes, and the latest removals.

        Routes may be added and removed meanwhile.
        """
        for key in self.routes.known_keys():
            if (route := self.routes.by_key(key)) is not None:
                yield Change(route.routespec, self._changes.at(key), route.data, route.last_activity)
        yield from self._changes.gone(self._clock())

    def merge(self, change: Change) -> bool:
        """Make a change that another instance was told, unless we know a later one; tell whether it was made.

        Raises:
            ValueError: The change cannot be used here. No route was changed; the change is no news any more.
            Retired: Another gateway is about to take over: the instance must ask again.
            OSError: There is no memory to keep the change for the next gateway. Nothing was changed.
        """
        key = self.routes.key(change.routespec)
        if not self._changes.is_news(key, change):
            self._activity.heard(change.routespec, change.active)
            return False
        self._make_room()
        try:
            self._do(key, change)
        except ValueError:
            self._changes.note(key, change)
            raise
        return True
