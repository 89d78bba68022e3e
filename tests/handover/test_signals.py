"""Each signal means one thing to the proxy."""

from bascule.handover.signals import HANDLED, HANG_UP, IGNORED, STOP


def test_a_signal_has_one_meaning_and_none_that_has_one_ends_the_process_by_itself() -> None:
    assert sorted(HANDLED) == sorted({*STOP, HANG_UP, *IGNORED})
