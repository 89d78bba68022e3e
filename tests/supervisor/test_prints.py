"""What the other processes print becomes lines of the log."""

from __future__ import annotations

import contextlib
import os
import selectors
from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any

import pytest
import structlog

from bascule.supervisor import prints as module
from bascule.supervisor.forwarderchild import ForwarderChild
from bascule.supervisor.prints import Prints
from tests.supervisor.sleepers import Sleepers
from tests.support.descriptors import open_descriptors

if TYPE_CHECKING:
    from collections.abc import Iterator


Lines = list[MutableMapping[str, Any]]


class Rig(Sleepers):
    """A forwarder that only sleeps; the test prints in its place."""

    def __init__(self) -> None:
        super().__init__()
        self.selector = selectors.DefaultSelector()
        self.prints = Prints(self.selector, self.do_later)
        self.child = ForwarderChild(0)
        with self.prints.pipe(self.child) as writing:
            self.writing = os.dup(writing)
            self.start(self.child)
        self.prints.watch(self.child)

    def print(self, text: bytes) -> None:
        os.write(self.writing, text)
        self.turn()

    def turn(self) -> int:
        ready = self.selector.select(0)
        for key, _ in ready:
            key.data()
        return len(ready)


@pytest.fixture
def rig() -> Iterator[Rig]:
    rig = Rig()
    yield rig
    rig.prints.end(rig.child)
    rig.end()
    rig.selector.close()
    os.close(rig.writing)


@pytest.fixture
def lines() -> Iterator[Lines]:
    with structlog.testing.capture_logs() as lines:
        yield lines


def test_what_comes_together_is_one_line(rig: Rig, lines: Lines) -> None:
    for piece in (b"Fatal Python error: Aborted\n\n", b"  File one\n", b"  File two\n"):
        rig.print(piece)
    assert not lines
    rig.pass_time()
    assert rig.child.process is not None
    assert lines == [
        {
            "event": "a process printed",
            "log_level": "error",
            "child": "forwarder-0",
            "pid": rig.child.process.pid,
            "stack": "Fatal Python error: Aborted\n\n  File one\n  File two",
        }
    ]
    rig.print(b"later")
    rig.pass_time()
    assert [line["stack"] for line in lines[1:]] == ["later"]
    assert not rig.later


def test_what_is_printed_last_is_logged_with_the_death_and_once(rig: Rig, lines: Lines) -> None:
    rig.print(b"first ")
    os.write(rig.writing, b"last")
    rig.prints.end(rig.child)
    rig.pass_time()
    assert [line["stack"] for line in lines] == ["first last"]


def test_who_prints_nothing_has_no_line(rig: Rig, lines: Lines) -> None:
    rig.prints.end(rig.child)
    assert not lines


def test_what_is_much_is_cut_and_a_full_pipe_holds_nobody_up(
    rig: Rig, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOST", 10)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(rig.writing, b"x" * 100)
    rig.turn()
    rig.print(b"more")
    rig.pass_time()
    assert [line["stack"] for line in lines] == ["x" * 10]


def test_a_process_that_has_died_wakes_nobody_again(rig: Rig) -> None:
    os.close(rig.writing)
    assert rig.turn() == 1
    assert rig.turn() == 0
    rig.writing = os.open(os.devnull, os.O_WRONLY)


def test_a_start_that_fails_leaves_no_pipe(rig: Rig) -> None:
    before, other = open_descriptors(), ForwarderChild(1)
    with pytest.raises(OSError, match="no process"), rig.prints.pipe(other):
        raise OSError("no process")
    assert open_descriptors() == before
    rig.prints.end(other)
