"""Each signal means one thing to the proxy."""

from bascule.handover.signals import HANG_UP, HEARD, IGNORED, STOP


def test_a_signal_has_one_meaning_and_none_that_has_one_ends_the_process_by_itself() -> None:
    assert sorted(HEARD) == sorted({*STOP, HANG_UP, *IGNORED})
