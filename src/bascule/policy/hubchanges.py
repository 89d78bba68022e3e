"""The last change of each of JupyterHub's routes; instances that exchange these have the same routes.

A *change* adds or removes a route, and has a time. Of two changes of one route the later counts, in whatever
order an instance hears of them (a last-writer-wins map). An instance gives a new change a later time than any
change of that route it knows of. So the Hub's last request counts even when clocks are wrong, provided that
the instance which received it had heard of the requests before.

A removal is remembered too: an instance that has not heard of it would otherwise bring the route back. An
hour is enough, since JupyterHub itself removes a route that came back when it next checks.

Rules of this file: pure; the caller gives the time. A *key* identifies a route (`HubRoutes.key`); times are
seconds since the epoch.
"""

from __future__ import annotations

import json
import math
from hashlib import blake2b
from typing import TYPE_CHECKING, Final, NamedTuple

from bascule.policy.jsonagain import check_writable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["KEPT", "MOST_GONE", "Change", "LastChanges", "is_time"]

KEPT: Final = 3600.0
"""Seconds for which a removal is remembered. JupyterHub checks its routes every 300 s."""

MOST_GONE: Final = 20_000
"""Most removals that are remembered, some 5 MB; beyond, the one noted longest ago is forgotten."""

_FAR: Final = 1e11
"""Seconds since the epoch, in the year 5138: no clock is as wrong as that."""

_WORD: Final = 1 << 64


class Change(NamedTuple):
    """One change of one route.

    Attributes:
        routespec: The route.
        at: Time of the change.
        data: What JupyterHub said of the route, ``target`` included; ``None`` if it was removed.
        active: When the route last had activity.
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
        """Read a change that `encode` wrote and ``json.loads`` parsed.

        Raises:
            ValueError: ``said`` is not a change, or `encode` could not write it again.
        """
        match said:
            case {"remove": str(routespec), "at": at} if is_time(at):
                return cls(routespec, at, None)
            case {"put": str(routespec), "at": at, "active": active, "data": dict(data)} if (
                is_time(at) and is_time(active) and _is_writable(data)
            ):
                return cls(routespec, at, data, active)
        raise ValueError("This is no change of a route.")


def is_time(value: object) -> bool:
    """Tell whether something from JSON is a time, in seconds since the epoch."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < _FAR


def _is_writable(data: object) -> bool:
    try:
        check_writable(data)
    except (RecursionError, ValueError):
        return False
    return True


class _Last(NamedTuple):
    """The last change of a route.

    Attributes:
        at: Its time.
        mark: 0 for a removal, otherwise a hash that tells additions of the same time apart and is never 0.
    """

    at: float
    mark: int


_NEVER: Final = _Last(-1.0, 0)


class LastChanges:
    """The last change of each route, and a digest of all present routes."""

    def __init__(self) -> None:
        self._last: dict[str, _Last] = {}
        self._gone: dict[str, str] = {}
        self._sum = 0

    @property
    def digest(self) -> str:
        """A text that two instances have in common when their routes were made by the same changes."""
        return f"{self._sum:016x}"

    def after(self, key: str, now: float) -> float:
        """Return the time for a change made now: later than that of any change known of its route."""
        return max(now, math.nextafter(self._last.get(key, _NEVER).at, math.inf))

    def is_news(self, key: str, change: Change) -> bool:
        """Tell whether a change is later than what is known of its route."""
        return _last(key, change) > self._last.get(key, _NEVER)

    def at(self, key: str) -> float:
        """Return the time of a present route's last change."""
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
        """Yield the removals that are still remembered; forget those older than `KEPT`.

        Changes may be noted, and removals forgotten, between two of them.
        """
        for key in list(self._gone):
            if (routespec := self._gone.get(key)) is None:
                continue  # it is back, or forgotten
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
