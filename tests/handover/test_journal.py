"""Lines that outlive the process that wrote them."""

from __future__ import annotations

import errno
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule.handover.journal import Journal

BOUNDS = 16


@pytest.fixture
def journal() -> Journal:
    return Journal.create("test-journal")


def size(journal: Journal) -> int:
    return os.fstat(journal.descriptor).st_size


def test_a_new_journal_is_empty(journal: Journal) -> None:
    assert (journal.lines(), len(journal)) == ([], 0)


def test_lines_are_read_in_the_order_they_were_added(journal: Journal) -> None:
    journal.append(b"one")
    journal.append(b"")
    journal.append(b"\x00\xff\r")

    assert (journal.lines(), len(journal)) == ([b"one", b"", b"\x00\xff\r"], 9)


def test_other_lines_take_the_place_of_all(journal: Journal) -> None:
    journal.append(b"one")
    journal.replace([b"two", b"three"])
    journal.append(b"four")

    assert (journal.lines(), len(journal)) == ([b"two", b"three", b"four"], 15)


def test_a_journal_whose_lines_all_went_takes_others(journal: Journal) -> None:
    journal.append(b"one")
    journal.replace([])
    assert (journal.lines(), len(journal)) == ([], 0)

    journal.append(b"two")
    assert journal.lines() == [b"two"]


def test_lines_may_be_replaced_by_what_is_made_of_them(journal: Journal) -> None:
    journal.append(b"one")
    journal.append(b"two")

    journal.replace(line.upper() for line in journal.lines())

    assert journal.lines() == [b"ONE", b"TWO"]


@pytest.mark.parametrize("written", [b"a long line that was cut", b"all of it\n"])
def test_a_line_whose_writer_was_killed_is_none(journal: Journal, written: bytes) -> None:
    journal.append(b"one")
    os.pwrite(journal.descriptor, written, size(journal))

    assert (journal.lines(), len(journal)) == ([b"one"], 4)
    journal.append(b"two")
    assert journal.lines() == [b"one", b"two"]
    journal.replace([b"three"])
    assert journal.lines() == [b"three"]


@pytest.mark.parametrize("rounds", [1, 2, 3])
def test_where_there_is_no_memory_the_lines_are_those_there_were(
    journal: Journal, monkeypatch: pytest.MonkeyPatch, rounds: int
) -> None:
    for _ in range(rounds):
        journal.replace([b"one", b"two"])
    write = os.pwrite

    def torn(descriptor: int, data: bytes, position: int) -> int:
        write(descriptor, data[:3], position)
        raise OSError(errno.ENOSPC, "full")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", torn)
        with pytest.raises(OSError, match="full"):
            journal.append(b"three")
        with pytest.raises(OSError, match="full"):
            journal.replace([b"four"])

    assert journal.lines() == [b"one", b"two"]
    journal.append(b"three")
    assert journal.lines() == [b"one", b"two", b"three"]


def test_what_is_written_in_parts_is_whole(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    read, write = os.pread, os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda where, data, at: write(where, data[:BOUNDS], at))
    monkeypatch.setattr(os, "pread", lambda where, length, at: read(where, min(length, BOUNDS), at))

    journal.append(b"1" * 100)
    journal.replace([b"2" * 100, b"3" * 50])

    assert journal.lines() == [b"2" * 100, b"3" * 50]


def test_two_journals_of_one_file_are_the_same(journal: Journal) -> None:
    other = Journal(journal.descriptor)

    journal.append(b"one")
    other.append(b"two")
    assert journal.lines() == other.lines() == [b"one", b"two"]

    other.replace([b"three"])
    journal.append(b"four")
    assert journal.lines() == other.lines() == [b"three", b"four"]


def test_a_file_is_no_longer_than_the_old_and_the_new_lines_together(journal: Journal) -> None:
    line = b"x" * 99

    for _ in range(200):
        journal.replace([line] * 10)
        assert size(journal) <= BOUNDS + 2000

    assert journal.lines() == [line] * 10


def test_a_file_whose_lines_grow_grows_with_them_only(journal: Journal) -> None:
    for count in range(1, 400):
        journal.replace([b"x" * 9] * count)
        assert size(journal) <= BOUNDS + 4 * len(journal)


def test_a_file_whose_lines_go_is_short_again(journal: Journal) -> None:
    journal.replace([b"x" * 9999])

    journal.replace([])

    assert size(journal) == BOUNDS


def test_its_descriptor_goes_with_it() -> None:
    descriptor = Journal.create("test-journal").descriptor
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_a_child_must_be_given_it(journal: Journal) -> None:
    assert not os.get_inheritable(journal.descriptor)


line = st.binary(max_size=20).map(lambda data: data.replace(b"\n", b""))
step = st.tuples(st.just(True), st.lists(line, min_size=1, max_size=1)) | st.tuples(
    st.just(False), st.lists(line, max_size=5)
)


@given(st.lists(step, max_size=20))
def test_whatever_was_done_it_reads_as_a_list_would(steps: list[tuple[bool, list[bytes]]]) -> None:
    model: list[bytes] = []
    journal = Journal.create("test-journal")
    for is_append, lines in steps:
        if is_append:
            journal.append(*lines)
            model += lines
        else:
            journal.replace(lines)
            model = lines.copy()
        assert journal.lines() == model
        assert len(journal) == sum(len(each) + 1 for each in model)
