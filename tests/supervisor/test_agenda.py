"""What is to be done later is done once, when its time has come."""

from __future__ import annotations

import math
import time

import pytest

from bascule.supervisor.agenda import Agenda


@pytest.fixture
def agenda(monkeypatch: pytest.MonkeyPatch) -> Agenda:
    """An agenda at a time of 100 s, on which three things are due at 101, 102 and 101 s."""
    monkeypatch.setattr(time, "monotonic", lambda: 100.0)
    agenda = Agenda()
    for seconds, action in ((1.0, first), (2.0, second), (1.0, third)):
        agenda.do_later(seconds, action)
    return agenda


def first() -> None: ...
def second() -> None: ...
def third() -> None: ...


def test_nothing_is_due_before_its_time(agenda: Agenda) -> None:
    assert agenda.take(100.9) == []
    assert agenda.next_at == 101.0


def test_what_is_due_is_taken_once_in_order_and_the_rest_waits(agenda: Agenda) -> None:
    assert agenda.take(101.0) == [first, third]
    assert agenda.next_at == 102.0
    assert agenda.take(500.0) == [second]


def test_with_nothing_to_do_there_is_no_next_time() -> None:
    agenda = Agenda()
    assert (agenda.next_at, agenda.take(1e9)) == (math.inf, [])
