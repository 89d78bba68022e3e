"""Counters in shared memory."""

from __future__ import annotations

import os
from collections import Counter
from itertools import product

import pytest

from bascule.handover.counters import (
    BLOCK_BYTES,
    BLOCK_WORDS,
    CAUSES,
    DIRECTIONS,
    DURATIONS_BASE,
    ENDED_BY,
    GATEWAYS,
    KINDS,
    ROUND_TRIPS_BASE,
    CounterFile,
    ForwarderWord,
    GatewayWord,
    close_code_label,
    close_code_word,
    durations_of,
    ended_word,
    frames_word,
    round_trips_of,
)
from bascule.telemetry.durations import DURATIONS
from bascule.telemetry.roundtrips import ROUND_TRIPS
from bascule.vocabulary import CLOSE_CODE_LABELS, CLOSE_SENDERS, Cause, EndedBy, Kind, Opcode

LASTED = range(DURATIONS_BASE, DURATIONS_BASE + DURATIONS.words)


def test_no_two_meanings_share_a_word_of_a_forwarder() -> None:
    words = [
        *ForwarderWord,
        *(frames_word(*of) for of in product(DIRECTIONS, Opcode)),
        *(ended_word(*of) for of in product(KINDS, ENDED_BY, CAUSES)),
        *(close_code_word(*of) for of in product(CLOSE_SENDERS, CLOSE_CODE_LABELS)),
        *LASTED,
        *range(ROUND_TRIPS_BASE, ROUND_TRIPS_BASE + ROUND_TRIPS.words),
    ]
    assert [word for word, times in Counter(words).items() if times > 1] == []
    assert max(words) < BLOCK_WORDS


def test_no_two_meanings_share_a_word_of_the_gateway() -> None:
    words = [*GatewayWord, *(ended_word(*of) for of in product(KINDS, ENDED_BY, CAUSES)), *LASTED]
    assert len(set(words)) == len(words)


def test_blocks_do_not_overlap() -> None:
    counters = CounterFile.create(2)
    counters.gateway(0)[BLOCK_WORDS - 1] = 1
    counters.forwarder(0)[0] = 2
    counters.forwarder(0)[BLOCK_WORDS - 1] = 3
    counters.forwarder(1)[0] = 4
    assert counters.gateway(0)[BLOCK_WORDS - 1] == 1
    assert [counters.forwarder(0)[word] for word in (0, BLOCK_WORDS - 1)] == [2, 3]
    counters.gateway(GATEWAYS - 1)[BLOCK_WORDS - 1] = 5
    assert counters.forwarder(0)[0] == 2
    assert os.fstat(counters.descriptor).st_size == (GATEWAYS + 2) * BLOCK_BYTES


def test_its_descriptor_goes_with_it() -> None:
    descriptor = CounterFile.create(1).descriptor
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_another_mapping_of_the_same_file_sees_what_was_counted() -> None:
    counters = CounterFile.create(1)
    counters.forwarder(0)[ForwarderWord.HEARTBEATS] += 5
    assert CounterFile(counters.descriptor, 1).forwarder(0)[ForwarderWord.HEARTBEATS] == 5


def test_a_total_is_over_all_slots_and_not_the_gateway() -> None:
    counters = CounterFile.create(3)
    counters.gateway(0)[ForwarderWord.HEARTBEATS] = 100
    for slot in range(3):
        counters.forwarder(slot)[ForwarderWord.HEARTBEATS] = slot + 1
    assert counters.total(ForwarderWord.HEARTBEATS) == 6


def test_what_gateways_counted_is_added_up_but_the_peak_is_the_highest() -> None:
    counters = CounterFile.create(1)
    counters.forwarder(0)[GatewayWord.ADMITTED] = 100
    for place in range(GATEWAYS):
        counters.gateway(place)[GatewayWord.ADMITTED] = place
        counters.gateway(place)[GatewayWord.PEAK_IN_FLIGHT] = 10 - place
    assert counters.of_gateways(GatewayWord.ADMITTED) == sum(range(GATEWAYS))
    assert counters.peak() == 10


def test_ends_and_losses_are_added_up_over_all_who_counted_them() -> None:
    counters = CounterFile.create(2)
    end = (Kind.APP, EndedBy.CLIENT, Cause.CLOSED)
    for block in (counters.gateway(1), counters.forwarder(0), counters.forwarder(1)):
        block[ended_word(*end)] = 7
    counters.gateway(1)[GatewayWord.FORWARDER_LOST] = 2
    counters.forwarder(0)[ForwarderWord.LOST] = 3
    assert counters.ended(*end) == 21
    assert counters.lost_count() == 5


def test_durations_are_added_up_over_all_who_counted_them() -> None:
    counters = CounterFile.create(2)
    for block in (counters.gateway(1), counters.forwarder(0), counters.forwarder(1)):
        durations_of(block)[-1] = 7
    assert counters.durations() == [0] * (DURATIONS.words - 1) + [21]


def test_round_trips_are_added_up_over_forwarders() -> None:
    counters = CounterFile.create(2)
    for block in (counters.forwarder(0), counters.forwarder(1)):
        round_trips_of(block)[-1] = 7
    assert counters.round_trips() == [0] * (ROUND_TRIPS.words - 1) + [14]


@pytest.mark.parametrize("place", [-1, GATEWAYS])
def test_there_is_no_other_place(place: int) -> None:
    with pytest.raises(IndexError, match="place"):
        CounterFile.create(1).gateway(place)


@pytest.mark.parametrize("slot", [-1, 2])
def test_a_slot_that_is_not_there_is_an_index_error(slot: int) -> None:
    with pytest.raises(IndexError, match=f"slot {slot} of 2"):
        CounterFile.create(2).forwarder(slot)


@pytest.mark.parametrize(
    ("code", "label"),
    [
        (None, "none"), (1000, "1000"), (1014, "1014"), (1004, "other"), (1005, "other"), (2999, "other"),
        (3000, "3000-3999"), (3999, "3000-3999"), (4000, "4000-4999"), (4999, "4000-4999"), (5000, "other"),
    ],
)  # fmt: skip
def test_a_close_code_has_one_label_of_a_closed_set(code: int | None, label: str) -> None:
    assert close_code_label(code) == label
    assert label in CLOSE_CODE_LABELS
