"""Of many equal log lines one is written, and the next when some time has passed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bascule.telemetry.rarely import Rarely


def test_the_first_line_is_written_whatever_the_clock_says() -> None:
    assert Rarely(60).now(0.0)
    assert Rarely(60).now(5.0)


@given(st.lists(st.floats(0, 100), max_size=50).map(sorted))
def test_any_two_written_lines_are_that_far_apart_and_a_withheld_one_is_near_one(times: list[float]) -> None:
    rarely, written = Rarely(10), list[float]()
    for time in times:
        if rarely.now(time):
            assert not written or time - written[-1] >= 10
            written.append(time)
        else:
            assert time - written[-1] < 10
