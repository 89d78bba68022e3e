"""What JupyterHub has said of its routes last: replicas tell each other, and then have the same routes.

A *change* adds a route or takes it away, at a time. Of two changes of one route the later counts, whatever
the order in which they are heard of (a last-writer-wins map). A change is given a time later than all that
is known of its route, so what the Hub says last counts, however wrong a clock is, as long as the replica
that is told has heard of what was said before.

That a route is gone is remembered too, or a replica that has not heard of it would bring the route back; for
an hour only, since JupyterHub removes such a route itself when it next looks.

Rules of this file: pure, and the clock is the caller's. A *key* is what a route is found by
(`HubRoutes.key`); times are seconds since the epoch.
"""

from __future__ import annotations

import json
import math
from hashlib import blake2b
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["KEPT", "MOST_GONE", "Change", "LastChanges", "is_time"]

KEPT: Final = 3600.0
"""Seconds for which a route that is gone is remembered. JupyterHub looks every 300 s whether all is right."""

MOST_GONE: Final = 20_000
"""Routes that are gone and remembered, at most: some 5 MB."""

_FAR: Final = 1e11
"""Seconds since the epoch, in the year 5138: no clock is as wrong as that."""

_WORD: Final = 1 << 64


class Change(NamedTuple):
    """What was said of one route.

    Attributes:
        routespec: The route.
        at: When it was said.
        data: What was said, ``target`` among it; ``None`` if the route was removed.
        active: When somebody last did something there.
    """

    routespec: str
    at: float
    data: Mapping[str, object] | None
    active: float = 0.0

    def encode(self) -> bytes:
        """Write it as a line of JSON, without the line feed."""
        if self.data is None:
            return json.dumps({"remove": self.routespec, "at": self.at}).encode()
        said = {"put": self.routespec, "at": self.at, "active": self.active, "data": self.data}
        return json.dumps(said).encode()

    @classmethod
    def read(cls, said: object) -> Change:
        """Read what `encode` wrote, from JSON.

        Raises:
            ValueError: It is none.
        """
        match said:
            case {"remove": str(routespec), "at": at} if is_time(at):
                return cls(routespec, at, None)
            case {"put": str(routespec), "at": at, "active": active, "data": dict(data)} if is_time(
                at
            ) and is_time(active):
                return cls(routespec, at, data, active)
        raise ValueError("This is no change of a route.")


def is_time(value: object) -> bool:
    """Tell whether something from JSON is a time, in seconds since the epoch."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < _FAR


class _Last(NamedTuple):
    """The last change of a route.

    Attributes:
        at: Its time.
        mark: Tells it from others of the same time, and is never 0; 0 for a removal.
    """

    at: float
    mark: int


_NEVER: Final = _Last(-1.0, 0)


class LastChanges:
    """The last change of each route, and a digest of all routes there are."""

    def __init__(self) -> None:
        self._last: dict[str, _Last] = {}
        self._gone: dict[str, str] = {}
        self._sum = 0

    @property
    def digest(self) -> str:
        """What two replicas with the same routes have in common, and two others have not."""
        return f"{self._sum:016x}"

    def after(self, key: str, now: float) -> float:
        """Return the time of a change that is made now."""
        return max(now, math.nextafter(self._last.get(key, _NEVER).at, math.inf))

    def is_news(self, key: str, change: Change) -> bool:
        """Tell whether a change is later than what is known of its route."""
        return _last(key, change) > self._last.get(key, _NEVER)

    def at(self, key: str) -> float:
        """Return when a route that is there was added."""
        return self._last[key].at

    def note(self, key: str, change: Change) -> None:
        """Note a change, which is the last of its route from now on."""
        last = _last(key, change)
        self._sum = (self._sum - self._last.get(key, _NEVER).mark + last.mark) % _WORD
        self._last[key] = last
        self._gone.pop(key, None)
        if change.data is None:
            self._gone[key] = change.routespec
            if len(self._gone) > MOST_GONE:
                self._forget(next(iter(self._gone)))

    def gone(self, now: float) -> Iterator[Change]:
        """Return the removals that are still remembered, and forget those of more than `KEPT` ago."""
        for key, routespec in list(self._gone.items()):
            at = self._last[key].at
            if at < now - KEPT:
                self._forget(key)
            else:
                yield Change(routespec, at, None)

    def _forget(self, key: str) -> None:
        del self._gone[key], self._last[key]


def _last(key: str, change: Change) -> _Last:
    if change.data is None:
        return _Last(change.at, 0)
    said = json.dumps([key, change.at, change.data], sort_keys=True).encode()
    return _Last(change.at, int.from_bytes(blake2b(said, digest_size=8).digest(), "big") or 1)
