"""A copy of this process does what it is told, has what it is given, and never comes back."""

from __future__ import annotations

import fcntl
import gc
import os
import resource
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bascule.supervisor.forked import Forked
from tests.support.proctree import descriptors

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")  # the test's threads

NAME = "a-copy"


@pytest.fixture(autouse=True)
def collected_again() -> Iterator[None]:
    """Let the collector of this process look at all objects again."""
    yield
    gc.unfreeze()


def said(look: Callable[[], object], inherits: Collection[int] = ()) -> str:
    """Return what a copy sees."""
    reading, writing = os.pipe()
    copy = Forked(NAME, lambda: os.write(writing, str(look()).encode()), {writing, *inherits})
    os.close(writing)
    with open(reading) as file:
        text = file.read()
    assert copy.wait() == 0
    return text


def leave(code: object) -> None:
    raise SystemExit(code)


@pytest.mark.parametrize(("code", "status"), [(None, 0), (0, 0), (2, 2), ("some words", 1)])
def test_its_exit_status_is_what_it_leaves_with(code: object, status: int) -> None:
    copy = Forked(NAME, lambda: leave(code), ())
    assert copy.returncode is None
    assert copy.wait() == status
    assert copy.wait() == copy.returncode == status, "it can be asked again"


def test_one_that_returns_has_succeeded() -> None:
    assert Forked(NAME, lambda: "whatever", ()).wait() == 0


def test_what_it_did_not_catch_is_on_standard_error() -> None:
    reading, writing = os.pipe()

    def fail() -> None:
        sys.stderr = os.fdopen(writing, "w", buffering=1)  # pytest has that of this process
        raise ValueError("a fault of ours")

    copy = Forked(NAME, fail, {writing})
    os.close(writing)
    with open(reading) as file:
        assert file.read().endswith("ValueError: a fault of ours\n")
    assert copy.wait() == 1


def test_one_that_is_killed_tells_the_signal() -> None:
    copy = Forked(NAME, signal.pause, ())
    copy.kill()
    assert copy.wait() == -signal.SIGKILL


def test_it_has_no_descriptor_but_those_it_is_given_and_the_standard_streams() -> None:
    ours, given = os.pipe()
    os.set_inheritable(ours, True)
    listed = said(lambda: " ".join(os.listdir("/proc/self/fd")), {given})
    os.close(ours)
    os.close(given)
    numbers = {int(word) for word in listed.split()}
    assert {0, 1, 2, given} < numbers
    assert ours not in numbers
    assert len(numbers) == 6, "and the pipe, and the listing's own"


def test_a_limit_that_was_lowered_meanwhile_leaves_it_no_descriptor_of_ours() -> None:
    # Well above all that a test job has open, so that room is left below it.
    ours = fcntl.fcntl(2, fcntl.F_DUPFD, 100 + max(descriptors(os.getpid())))
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (ours, before[1]))
    try:
        listed = said(lambda: " ".join(os.listdir("/proc/self/fd")))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
        os.close(ours)
    assert str(ours) not in listed.split()


def test_it_reads_nothing_of_our_standard_input() -> None:
    assert said(lambda: os.readlink("/proc/self/fd/0")) == "/dev/null"


def test_ctrl_c_does_not_reach_it_for_it_is_in_a_group_of_its_own() -> None:
    assert said(lambda: os.getpgid(0) == os.getpid()) == "True"


def test_the_copy_has_the_name_that_it_was_given() -> None:
    assert said(lambda: Path("/proc/self/comm").read_text()) == f"{NAME}\n"


def test_a_signal_to_it_does_not_wake_us() -> None:
    wake, writer = socket.socketpair()
    writer.setblocking(False)
    before = signal.signal(signal.SIGUSR1, lambda *_: None)
    signal.set_wakeup_fd(writer.fileno())
    try:
        look = said(lambda: os.kill(os.getpid(), signal.SIGUSR1), {writer.fileno()})
    finally:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGUSR1, before)
    wake.setblocking(False)
    with pytest.raises(BlockingIOError):
        wake.recv(1)
    assert look == "None"
    wake.close()
    writer.close()


def test_it_never_comes_back_to_where_it_was_made() -> None:
    reading, writing = os.pipe()
    try:
        copy = Forked(NAME, lambda: leave(0), {writing})
        assert copy.wait() == 0
    finally:
        os.write(writing, b"x")  # a copy that came back here would write as well
    os.close(writing)
    with open(reading, "rb") as file:
        assert file.read() == b"x"
