"""The list of live sessions: one reading shared by all callers, filtered, sorted and cut.

There are two ways to page. A caller that wants all sessions uses ``cursor``, in the order of the
ids: a session that ends or starts meanwhile neither repeats nor hides another row. A caller that
shows one stretch of a sorted table, as the status page does, uses ``offset``.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Final

from bascule.admin.problem import Problem, check_parameters
from bascule.tasks import spawn
from bascule.vocabulary import Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from bascule.admin.view import GatewayView, SessionRow

__all__ = ["FILTERS", "NO_FILTER", "Filter", "Query", "SessionList", "answer", "parse_filter", "parse_query"]

_MAX_LIMIT: Final = 1000
_DEFAULT_LIMIT: Final = 100
_FRESH: Final = 0.5
"""Seconds for which one reading serves all callers. Asking 8 forwarders for 10,000 rows takes some ten
milliseconds of the gateway's only thread."""

_SORT_KEYS: Final[dict[str, str]] = {
    "id": "id",
    "age": "age",
    "idle": "idle",
    "bytesIn": "bytes_in",
    "bytesOut": "bytes_out",
    "route": "route",
    "kind": "kind",
    "user": "user",
}
FILTERS: Final = frozenset({"route", "kind", "user", "id", "minAge", "minIdle"})
"""Parameters of `parse_filter`."""
_PARAMETERS: Final = FILTERS | {"limit", "cursor", "offset", "sort"}


class SessionList:
    """Reads the sessions at most every half second.

    Args:
        view: The gateway.
        clock: Monotonic seconds.
    """

    def __init__(self, view: GatewayView, clock: Callable[[], float] = time.monotonic) -> None:
        self._view = view
        self._clock = clock
        self._rows: Sequence[SessionRow] = ()
        self._read_at: float | None = None
        self._reading: asyncio.Task[None] | None = None

    async def rows(self) -> Sequence[SessionRow]:
        """Return the live sessions, at most half a second old.

        Cancellation: safe; the reading goes on for the others who wait for it.
        """
        if self._read_at is None or self._clock() - self._read_at >= _FRESH:
            if self._reading is None:
                self._reading = spawn(self._read(), "list sessions")
            await asyncio.shield(self._reading)
        return self._rows

    async def _read(self) -> None:
        try:
            self._rows = await self._view.sessions()
            self._read_at = self._clock()
        finally:
            self._reading = None


@dataclass(frozen=True, slots=True)
class Filter:
    """Which sessions are meant; ``None`` does not filter."""

    route: str | None = None
    kind: Kind | None = None
    user: str | None = None
    id: str = ""
    min_age: float = 0.0
    min_idle: float = 0.0

    def matches(self, row: SessionRow) -> bool:
        """Tell whether a row passes all filters."""
        return (
            (self.route is None or row.route == self.route)
            and (self.kind is None or row.kind == self.kind)
            and (self.user is None or row.user == self.user)
            and row.id.startswith(self.id)
            and row.age >= self.min_age
            and row.idle >= self.min_idle
        )


NO_FILTER: Final = Filter()
"""What all sessions pass."""


@dataclass(frozen=True, slots=True)
class Query:
    """What `GET /sessions` asks for."""

    wanted: Filter
    limit: int
    cursor: str | None
    offset: int
    sort: str
    descending: bool


def parse_filter(query: Mapping[str, str]) -> Filter:
    """Read the parameters in `FILTERS`.

    Raises:
        Problem: 400, naming the parameter that is out of range.
    """
    kind = query.get("kind")
    if kind is not None and kind not in set(Kind):
        raise Problem(400, f"kind must be one of {', '.join(Kind)}.", parameter="kind")
    return Filter(
        route=query.get("route"),
        kind=Kind(kind) if kind is not None else None,
        user=query.get("user"),
        id=query.get("id", ""),
        min_age=_number(query, "minAge"),
        min_idle=_number(query, "minIdle"),
    )


def parse_query(query: Mapping[str, str]) -> Query:
    """Read the parameters of `GET /sessions`.

    Raises:
        Problem: 400, naming the parameter that is unknown or out of range.
    """
    check_parameters(query, _PARAMETERS)
    sort = query.get("sort", "id")
    descending = sort.startswith("-")
    sort = sort.removeprefix("-")
    if sort not in _SORT_KEYS:
        allowed = ", ".join(_SORT_KEYS)
        raise Problem(400, f"sort must be one of {allowed}, with - in front to reverse it.", parameter="sort")
    cursor = query.get("cursor")
    if cursor is not None and (sort != "id" or descending or "offset" in query):
        raise Problem(400, "cursor needs the default order, by id, and no offset.", parameter="cursor")
    return Query(
        wanted=parse_filter(query),
        limit=_whole(query, "limit", _DEFAULT_LIMIT, 1, _MAX_LIMIT),
        cursor=cursor,
        offset=_whole(query, "offset", 0, 0, 2**31 - 1),
        sort=sort,
        descending=descending,
    )


def answer(rows: Sequence[SessionRow], query: Query) -> dict[str, object]:
    """Filter, sort and cut rows into the body of the answer."""
    found = [row for row in rows if query.wanted.matches(row)]
    total = len(found)
    # Ids break ties, so that rows with equal keys do not change places from one reading to the next.
    found.sort(key=lambda row: _born(row.id))
    if query.sort == "id":
        if query.descending:
            found.reverse()
    elif query.sort == "user":
        found.sort(key=lambda row: row.user or "", reverse=query.descending)
    else:
        found.sort(key=attrgetter(_SORT_KEYS[query.sort]), reverse=query.descending)
    if query.cursor is not None:
        found = [row for row in found if _born(row.id) > _born(query.cursor)]
    cut = found[query.offset : query.offset + query.limit]
    more = query.sort == "id" and not query.descending and len(found) > query.offset + query.limit
    return {"sessions": [_row_json(row) for row in cut], "total": total, "next": cut[-1].id if more else None}


def _born(number: str) -> tuple[int, str]:
    """Return a key that sorts ids in the order they were given: hexadecimal numbers without leading zeros."""
    return len(number), number


def _row_json(row: SessionRow) -> dict[str, object]:
    """Render one session."""
    return {
        "id": row.id,
        "route": row.route,
        "kind": row.kind,
        "user": row.user,
        "client": row.client,
        "upstream": row.upstream,
        "forwarder": row.forwarder,
        "age": round(row.age, 1),
        "idle": round(row.idle, 1),
        "roundTrip": None if row.round_trip is None else round(row.round_trip, 4),
        "bytesIn": row.bytes_in,
        "bytesOut": row.bytes_out,
        "framesIn": row.frames_in,
        "framesOut": row.frames_out,
    }


def _number(query: Mapping[str, str], name: str) -> float:
    text = query.get(name)
    if text is None:
        return 0.0
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1e9:
        raise Problem(400, f"{name} must be a number of seconds.", parameter=name)
    return value


def _whole(query: Mapping[str, str], name: str, default: int, least: int, most: int) -> int:
    text = query.get(name)
    if text is None:
        return default
    value = int(text) if text.isascii() and text.isdigit() and len(text) < 12 else -1
    if not least <= value <= most:
        raise Problem(400, f"{name} must be a whole number from {least} to {most}.", parameter=name)
    return value
