"""Which sessions are closed because their login is over. On the wire: tests/sessions/test_end_of_login.py."""

from __future__ import annotations

from typing import Any

from bascule.gateway.sessions.expiry import close_expired
from bascule.gateway.sessions.registry import Record
from bascule.policy.budget import SessionBudget
from bascule.protocol.closing import End
from bascule.telemetry.errand import Errand
from bascule.vocabulary import Kind

BUDGET = SessionBudget(10)


def _until(identifier: int, slot: int, expires: int | None) -> Record:
    errand = Errand("lab", Kind.JUPYTER, "10.0.0.7", "lab:8888", "ada", expires)
    return Record(identifier, errand, 1.0, slot, BUDGET.restore(1.0, "lab", "ada"))


def test_a_session_is_told_once_when_its_token_is_no_longer_good() -> None:
    orders: list[tuple[int, int, End]] = []

    def close(*order: Any) -> bool:
        orders.append(order)
        return len(orders) > 1  # the first order could not be sent

    sessions, told = [_until(1, 1, 1000), _until(2, 0, 1001), _until(3, 1, None)], set[int]()
    for now in (1059.9, 1060.0, 1060.1, 1060.9):
        told = close_expired(sessions, close, 60.0, now, told)
    assert (orders, told) == ([(1, 1, End.EXPIRED)] * 2, {1})
    told = close_expired(sessions[1:], close, 60.0, 1e12, told)
    assert (orders[2:], told) == ([(0, 2, End.EXPIRED)], {2})
