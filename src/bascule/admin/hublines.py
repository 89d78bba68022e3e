"""What instances write to each other about JupyterHub's routes: lines of JSON, each a change or an activity.

Rules of this file: a line is checked though it comes with the token: another release may have written it.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from typing import TYPE_CHECKING, Any, Final

import structlog
from aiohttp import web

from bascule.policy.hubchanges import Change, is_time

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    import aiohttp

    from bascule.admin.view import HubRoutesView

__all__ = ["ACTIVITY", "CHANGES", "lines_of", "merge", "read_activity", "send_lines"]

_log = structlog.get_logger()

CHANGES: Final = "/hub/changes"
ACTIVITY: Final = "/hub/activity"
"""The paths of the calls; see `bascule.admin.hubanswers`."""

_AT_ONCE: Final = 200
"""Routes read or written without a pause: some 2 ms of the gateway's only thread."""

_NDJSON: Final = "application/x-ndjson"


async def send_lines(
    request: web.Request, lines: Iterator[bytes], fields: dict[str, str]
) -> web.StreamResponse:
    """Send lines, with pauses so that upgrades do not wait."""
    answer = web.StreamResponse(headers={"Content-Type": _NDJSON, **fields})
    await answer.prepare(request)
    while some := b"".join(line + b"\n" for line in itertools.islice(lines, _AT_ONCE)):
        await answer.write(some)
        await asyncio.sleep(0)
    await answer.write_eof()
    return answer


async def lines_of(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Yield the lines of an answer as they come, with pauses so that upgrades do not wait."""
    number = 0
    async for line in content:
        yield line
        number += 1
        if number % _AT_ONCE == 0:
            await asyncio.sleep(0)


def read_activity(line: bytes) -> tuple[str, float]:
    """Read a route and when it last had activity.

    Raises:
        ValueError: The line is no activity.
    """
    match _parsed(line):
        case [str(routespec), at] if is_time(at):
            return routespec, at
        case _:
            raise ValueError("The line is no activity of a route.")


def merge(routes: HubRoutesView, line: bytes) -> Change | None:
    """Take a change over; return it if it was news, ``None`` if not or if it cannot be used here.

    Raises:
        ValueError: The line is no change.
        Retired: Another gateway is about to take over.
        OSError: There is no memory.
    """
    change = Change.read(_parsed(line))
    try:
        return change if routes.merge(change) else None
    except ValueError as error:
        _log.warning("a peer's route cannot be had here", problem=str(error))
        return None


def _parsed(line: bytes) -> Any:
    """Parse a line.

    Raises:
        ValueError: It is no JSON, or nested too deeply to be read.
    """
    try:
        return json.loads(line)
    except RecursionError:
        raise ValueError("The line is nested too deeply.") from None
