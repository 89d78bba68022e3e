"""Which sessions are closed because their login is over. On the wire: tests/sessions/test_end_of_login.py."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from bascule.gateway.sessions.expiry import close_expired
from bascule.protocol.closing import End
from tests.gateway.sessions.test_registry import record

if TYPE_CHECKING:
    from bascule.gateway.sessions.registry import Record


def _until(identifier: int, expires: int | None) -> Record:
    session = record(identifier, slot=identifier % 2, user="ada")
    return replace(session, errand=session.errand._replace(expires=expires))


def test_a_session_is_closed_once_its_token_is_no_longer_good_and_until_it_is_gone() -> None:
    told: list[tuple[int, int, End]] = []
    sessions = [_until(1, 1000), _until(2, 1001), _until(3, None)]
    for now in (1059.9, 1060.0, 1060.9):
        close_expired(sessions, lambda *what: told.append(what), leeway=60.0, now=now)
    assert told == [(1, 1, End.EXPIRED)] * 2
    close_expired(sessions[1:], lambda *what: told.append(what), leeway=60.0, now=1e12)
    assert told[2:] == [(0, 2, End.EXPIRED)]
