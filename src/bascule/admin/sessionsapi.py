"""The calls that list live sessions and close them, one or all that pass the filters.

Rules of this file: a session that was told to close is still in the list until it is over, and one that is
told twice keeps the code that it was told first; so a call may be repeated.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import defaultdict
from typing import TYPE_CHECKING, Final

from bascule.admin import listing
from bascule.admin.jsonanswer import json_answer
from bascule.admin.problem import Problem, check_parameters
from bascule.admin.view import Unheard
from bascule.protocol.closing import CLOSE_TABLE, End
from bascule.protocol.frames import MAX_REASON_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp import web

    from bascule.admin.listing import SessionList
    from bascule.admin.view import GatewayView

__all__ = ["SessionsApi"]

_SESSION_ID: Final = re.compile(r"[0-9a-f]{1,64}", re.ASCII)
_CLOSE_CODES: Final = frozenset({1000, 1008, 1011, 1012, 1013})
"""Registered codes that make sense from an operator; 3000-4999 are the applications' own."""
_CLOSE: Final = frozenset({"code", "reason"})
_AGAIN: Final = {"Retry-After": "1"}
_PAUSE: Final = 0.01
"""Seconds until a forwarder that takes no order just now is asked again."""
_PATIENCE: Final = 2.0
"""Seconds in which a forwarder has to take one more order: some hundreds lie unread with it, and no more."""


class SessionsApi:
    """The calls.

    Args:
        view: The gateway.
        sessions: Its live sessions.
    """

    def __init__(self, view: GatewayView, sessions: SessionList) -> None:
        self._view = view
        self._sessions = sessions

    def add_to(self, app: web.Application) -> None:
        """Add the calls to an application."""
        app.router.add_get("/sessions", self._list)
        app.router.add_delete("/sessions", self._end_all)
        app.router.add_delete("/sessions/{id}", self._end_one)

    async def _list(self, request: web.Request) -> web.Response:
        query = listing.parse_query(request.query)
        return json_answer(listing.answer(await self._sessions.rows(), query))

    async def _end_one(self, request: web.Request) -> web.Response:
        session_id = request.match_info["id"]
        check_parameters(request.query, _CLOSE)
        code, reason = _close(request.query)
        try:
            is_id = _SESSION_ID.fullmatch(session_id) is not None
            known = is_id and self._view.end_session(session_id, code, reason)
        except Unheard:
            detail = "The session's forwarder cannot be reached just now; the session goes on. Try again."
            raise Problem(503, detail, fields=_AGAIN) from None
        if not known:
            raise Problem(404, "There is no such session; it may have ended by itself.")
        return json_answer({"id": session_id, "code": code, "reason": reason}, status=202)

    async def _end_all(self, request: web.Request) -> web.Response:
        """Close all that pass the filters, which must say something, so that a slip ends nobody's work."""
        check_parameters(request.query, _CLOSE | listing.FILTERS)
        code, reason = _close(request.query)
        wanted = listing.parse_filter(request.query)
        if wanted == listing.NO_FILTER:
            filters = ", ".join(sorted(listing.FILTERS))
            raise Problem(400, f"Name at least one of {filters}; POST /drain ends all.")
        told = unheard = 0
        # Read now: who was signed out a moment ago may have opened one in the last half second.
        rows = await self._view.sessions()
        until: defaultdict[int, float] = defaultdict(lambda: time.monotonic() + _PATIENCE)
        for row in rows:
            if wanted.matches(row):
                try:
                    told += await self._end(row.id, code, reason, until[row.forwarder])
                    del until[row.forwarder]  # the next one may wait as long
                except Unheard:
                    unheard += 1
        if unheard:
            detail = f"Closed {told}; {unheard} go on, whose forwarder cannot be reached just now. Try again."
            raise Problem(503, detail, fields=_AGAIN)
        return json_answer({"closed": told, "code": code, "reason": reason}, status=202)

    async def _end(self, number: str, code: int, reason: str, until: float) -> bool:
        """Close one session as soon as its forwarder takes the order; tell whether there is such a session.

        Raises:
            Unheard: It did not until that monotonic time.
        """
        while True:
            try:
                return self._view.end_session(number, code, reason)
            except Unheard:
                if time.monotonic() >= until:
                    raise
            await asyncio.sleep(_PAUSE)


def _close(query: Mapping[str, str]) -> tuple[int, str]:
    """Read code and reason of a Close.

    Raises:
        Problem: 400, naming the parameter that is not valid.
    """
    return _close_code(query.get("code")), _close_reason(query.get("reason"))


def _close_code(text: str | None) -> int:
    if text is None:
        default = CLOSE_TABLE[End.ADMIN].to_browser
        assert default is not None
        return default
    code = int(text) if text.isascii() and text.isdigit() and len(text) == 4 else 0
    if code not in _CLOSE_CODES and not 3000 <= code <= 4999:
        codes = ", ".join(str(known) for known in sorted(_CLOSE_CODES))
        raise Problem(400, f"code must be one of {codes}, or from 3000 to 4999.", parameter="code")
    return code


def _close_reason(text: str | None) -> str:
    if not text:
        return CLOSE_TABLE[End.ADMIN].browser_reason
    try:
        length = len(text.encode())
    except UnicodeEncodeError:  # bytes that are not UTF-8 in the query
        raise Problem(400, "reason must be text in UTF-8.", parameter="reason") from None
    if length > MAX_REASON_BYTES or not text.isprintable():
        raise Problem(
            400, f"reason must be printable and at most {MAX_REASON_BYTES} bytes.", parameter="reason"
        )
    return text
