"""A log that cannot be written, or that nobody reads."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from typing import TYPE_CHECKING

import pytest

from bascule.telemetry import linewriter
from bascule.telemetry.linewriter import LineWriter

if TYPE_CHECKING:
    from pathlib import Path


def test_a_full_disk_loses_lines_and_nothing_else() -> None:
    descriptor = os.open("/dev/full", os.O_WRONLY)
    writer = LineWriter(descriptor)

    writer.info("lost")
    writer.info("lost too")

    os.close(descriptor)
    assert writer.lost == 2


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a line wait for its reader only a moment."""
    monkeypatch.setattr(linewriter, "PATIENCE", 0.01)


@pytest.mark.usefixtures("impatient")
def test_what_was_lost_is_not_forgotten_where_that_cannot_be_written_either() -> None:
    descriptor = os.open("/dev/full", os.O_WRONLY)
    said: list[int] = []

    def say(lost: int) -> None:
        said.append(lost)
        writer.warning("so many were lost")

    writer = LineWriter(descriptor, say)
    for _ in range(3):
        writer.info("lost")
    os.close(descriptor)
    assert said == [1, 2]


@pytest.mark.usefixtures("impatient")
def test_a_torn_line_does_not_swallow_the_next() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    writer = LineWriter(writing)
    writer.msg("x" * 1_000_000)
    taken = len(os.read(reading, 1_000_000))

    writer.msg("next")

    assert writer.lost == 1
    assert taken < 1_000_000
    rest = os.read(reading, 1_000_000)
    os.close(reading)
    os.close(writing)
    assert rest == b"\nnext\n"


class Raced(LineWriter):
    """Finds room in the pipe once, which another process has taken by the time of the write."""

    __slots__ = ("asked",)

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor)
        self.asked = 0

    def _takes(self) -> bool:
        self.asked += 1
        return self.asked == 1 or super()._takes()


@pytest.mark.usefixtures("impatient")
def test_a_pipe_that_another_process_has_filled_meanwhile_is_not_waited_for() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writing, b"x")
    os.set_blocking(writing, True)
    writer = Raced(writing)

    writer.msg("lost")

    os.close(reading)
    os.close(writing)
    assert (writer.lost, writer.asked) == (1, 2)


class SlowlyRead(LineWriter):
    """Has room for a line only after 0.9 seconds, by a clock of its own."""

    __slots__ = ("clock",)

    def __init__(self, descriptor: int, clock: Clock) -> None:
        self.clock = clock
        super().__init__(descriptor)

    def _has_room(self, within: float) -> bool:
        self.clock.now += min(within, 0.9)
        return within >= 0.9


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


def test_a_reader_that_is_always_too_slow_is_waited_for_during_a_tenth_of_the_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock()
    monkeypatch.setattr(linewriter, "time", clock)
    with open(os.devnull, "wb") as nothing:
        writer = SlowlyRead(nothing.fileno(), clock)
        for _ in range(400):  # sessions that end at once
            writer.msg("ended")
        assert clock.now - 100 <= linewriter.PATIENCE
        assert writer.lost == 399
        worked = 0.0
        for _ in range(400):
            worked += 0.1
            clock.now += 0.1
            writer._is_read = True  # somebody has read something since
            writer.msg("ended")
        assert clock.now - 100 <= worked * 1.2 + linewriter.PATIENCE


def test_what_takes_no_write_without_waiting_gets_its_lines_all_the_same(tmp_path: Path) -> None:
    with (tmp_path / "log").open("ab") as file:
        writer = LineWriter(file.fileno())
        writer.msg("one")
        writer.msg("two")

    assert (tmp_path / "log").read_text() == "one\ntwo\n"


def test_a_file_that_would_have_to_wait_for_its_disk_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # XFS and btrfs know the flag, and refuse with it what has to change an inode first: again and again.
    def refuse(*_: object) -> int:
        raise BlockingIOError

    monkeypatch.setattr(os, "pwritev", refuse)
    with (tmp_path / "log").open("ab") as file:
        LineWriter(file.fileno()).msg("one")

    assert (tmp_path / "log").read_text() == "one\n"


def test_where_the_kernel_knows_no_write_without_waiting_it_is_tried_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tried = []

    def refuse(*arguments: object) -> int:
        tried.append(arguments)
        raise OSError(errno.EOPNOTSUPP, "not supported")

    monkeypatch.setattr(os, "pwritev", refuse)
    reading, writing = os.pipe()
    with open(reading, "rb", buffering=0) as pipe, open(writing, "wb"):
        writer = LineWriter(writing)
        writer.msg("one")
        writer.msg("two")
        assert pipe.read(100) == b"one\ntwo\n"
    assert len(tried) == 1


def test_a_pipe_that_nobody_can_read_any_more_loses_its_lines() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "wb"):
        writer = LineWriter(writing)
        writer.msg("one")
    assert writer.lost == 1


def test_a_socket_takes_lines() -> None:
    reading, writing = socket.socketpair()
    with reading, writing:
        LineWriter(writing.fileno()).msg("one")
        assert reading.recv(100) == b"one\n"
