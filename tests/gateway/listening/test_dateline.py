"""The date of an answer is that of now, and is formatted once a second."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from bascule.gateway.listening.dateline import date_line

if TYPE_CHECKING:
    import pytest


def test_the_date_is_that_of_now_and_formatted_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 784111777.0  # the example of RFC 9110 §5.6.7
    monkeypatch.setattr(time, "time", lambda: now)
    line = date_line()
    assert line == b"Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
    now += 0.999
    assert date_line() is line
    now += 0.001
    assert date_line() == b"Date: Sun, 06 Nov 1994 08:49:38 GMT\r\n"
