"""The sessions that were lost with a forwarder are counted by one process, and logged by one."""

from __future__ import annotations

from bascule.handover.counters import CounterFile
from bascule.handover.losses import claim_to_count, claim_to_log, is_logged


def test_who_claims_first_counts() -> None:
    words = CounterFile.create(1).forwarder(0)
    assert [claim_to_count(words, 0) for _ in range(2)] == [True, False]
    assert claim_to_count(words, 1), "the next process's are others"


def test_each_death_of_a_slot_is_claimed_for_itself_and_a_later_one_hides_no_earlier_one() -> None:
    words = CounterFile.create(1).forwarder(0)
    for restarts in (3, 2, 40, 9):
        assert [claim_to_count(words, restarts) for _ in range(2)] == [True, False]
    assert not claim_to_count(words, 3), "so long ago that nobody knows counts as claimed"
    assert claim_to_count(words, 1 << 30), "the number has room"


def test_who_counts_need_not_be_who_logs() -> None:
    words = CounterFile.create(1).forwarder(0)
    assert claim_to_count(words, 0)
    assert not is_logged(words, 0)
    assert claim_to_log(words, 0)
    assert is_logged(words, 0)
    assert not claim_to_log(words, 0)
    assert claim_to_log(words, 2)
    assert [is_logged(words, restarts) for restarts in range(4)] == [True, False, True, False]
