"""A child process: started with what it needs and nothing else, restarted with back-off."""

from __future__ import annotations

import errno
import os
import signal
import sys
from typing import TYPE_CHECKING

import pytest

from bascule.errors import ConfigError
from bascule.handover.counters import CounterFile, ForwarderWord, GatewayWord
from bascule.handover.setup import ForwarderSetup
from bascule.supervisor.child import BACK_OFF, STABLE_AFTER, check_kernel
from bascule.supervisor.forwarderchild import ForwarderChild
from bascule.supervisor.gatewaychild import GatewayChild
from tests.support.bascule import run_bascule
from tests.support.proctree import alive
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., ForwarderChild]]:
    """Start a child that runs the given lines of Python."""
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    children: list[ForwarderChild] = []

    def started(lines: str, child: ForwarderChild | None = None, now: float = 0.0) -> ForwarderChild:
        (tmp_path / "stand_in.py").write_text(lines)
        child = child or ForwarderChild(0)
        child.module = "stand_in"
        theirs = child.new_control()
        setup = ForwarderSetup(
            theirs.fileno(), -1, 1, slot=0, read_buffer_bytes=1, heartbeat_ms=0, pong=0.0, idle_ms=0,
            closing=1.0,
        )  # fmt: skip
        child.start(setup, now)
        theirs.close()
        children.append(child)
        return child

    yield started
    for child in children:
        if child.alive:
            child.signal(signal.SIGKILL)
            child.reap(0.0)


LISTENS = """
import json, os, socket, sys
setup = json.load(os.fdopen(int(sys.argv[1])))
control = socket.socket(fileno=setup["control"])
control.setblocking(True)
"""


def test_a_child_is_told_over_a_descriptor_and_not_in_its_arguments(
    start: Callable[..., ForwarderChild],
) -> None:
    child = start(
        LISTENS + "control.send(json.dumps([setup['slot'], sys.argv[1:]]).encode())\ncontrol.recv(1)"
    )
    assert child.control is not None
    said = eventually(lambda: _received(child), 10, "it speaks")
    assert said.startswith(b'[0, ["')
    assert b"{" not in said


def _received(child: ForwarderChild) -> bytes:
    assert child.control is not None
    try:
        return child.control.recv(4096)
    except BlockingIOError:
        return b""


def test_a_child_inherits_no_descriptor_it_was_not_given(start: Callable[..., ForwarderChild]) -> None:
    secret = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(secret, True)  # even one that an extension forgot to close on exec
    child = start(LISTENS + "control.send(' '.join(os.listdir('/proc/self/fd')).encode())\ncontrol.recv(1)")
    descriptors = {int(word) for word in eventually(lambda: _received(child), 10, "it speaks").split()}
    os.close(secret)
    # Standard streams, the control channel, the setup (closed on reading) and the listing's own.
    assert len(descriptors) <= 5


def test_the_first_death_is_repaired_at_once_and_each_further_one_later(
    start: Callable[..., ForwarderChild],
) -> None:
    child = start("")
    delays = []
    for _ in range(4):
        delays.append(child.reap(1.0)[1])
        start("", child)
    assert delays == list(BACK_OFF[:4])
    assert child.restarts == 4


def test_back_off_grows_and_is_bounded() -> None:
    assert BACK_OFF[0] == 0.0
    assert list(BACK_OFF) == sorted(BACK_OFF)
    assert BACK_OFF[-1] <= 60


def test_a_child_that_lived_long_enough_is_repaired_at_once_again(
    start: Callable[..., ForwarderChild],
) -> None:
    child = start("")
    for _ in range(3):
        child.reap(1.0)
        start("", child)
    assert child.reap(STABLE_AFTER)[1] == 0.0


@pytest.mark.parametrize(("lines", "status"), [("", 0), ("raise SystemExit(2)", 2)])
def test_the_exit_status_is_reported(start: Callable[..., ForwarderChild], lines: str, status: int) -> None:
    child = start(lines)
    assert child.reap(0.0)[0] == status
    assert not child.alive
    assert child.pidfd == -1
    assert child.control is None


def test_a_signal_reaches_the_child_and_is_reported(start: Callable[..., ForwarderChild]) -> None:
    child = start("import signal\nsignal.pause()")
    child.signal(signal.SIGKILL)
    assert child.reap(0.0)[0] == -signal.SIGKILL


def test_a_signal_to_a_child_that_is_gone_is_nothing(start: Callable[..., ForwarderChild]) -> None:
    child = start("")
    eventually(lambda: os.waitid(os.P_PIDFD, child.pidfd, os.WEXITED | os.WNOWAIT), 10, "it has left")
    child.signal(signal.SIGTERM)
    child.reap(0.0)
    child.signal(signal.SIGTERM)


def test_only_the_process_that_was_given_up_is_killed(start: Callable[..., ForwarderChild]) -> None:
    child = start("import signal\nsignal.pause()")
    assert child.process is not None
    child.kill(child.process.pid + 1)
    assert alive(child.process.pid)
    child.kill(child.process.pid)
    assert child.reap(0.0)[0] == -signal.SIGKILL
    child.kill(0)


def test_the_log_names_a_forwarder_by_its_slot_and_a_gateway_by_nothing_more() -> None:
    assert (GatewayChild(0).name, ForwarderChild(3).name) == (
        "gateway",
        "forwarder-3",
    )


def test_what_a_process_that_died_held_is_taken_back_once() -> None:
    counters = CounterFile.create(1)
    words = counters.forwarder(0)
    words[ForwarderWord.CHANNEL] = 7
    words[ForwarderWord.OPEN] = 3
    words[ForwarderWord.STASHED_BYTES] = 100
    counters.gateway(0)[GatewayWord.HTTP_IN_FLIGHT] = 5

    assert [ForwarderChild(0).take_back_gauges(counters) for _ in range(2)] == [3, 0]
    assert GatewayChild(0).take_back_gauges(counters) == 0

    assert words[ForwarderWord.DIED_ON] == 7
    assert words[ForwarderWord.STASHED_BYTES] == counters.gateway(0)[GatewayWord.HTTP_IN_FLIGHT] == 0


def test_python_is_the_one_that_runs_the_supervisor(start: Callable[..., ForwarderChild]) -> None:
    child = start(LISTENS + "control.send(sys.executable.encode())\ncontrol.recv(1)")
    assert eventually(lambda: _received(child), 10, "it speaks") == sys.executable.encode()


def test_a_child_that_is_abandoned_is_gone_and_may_be_started_again(
    start: Callable[..., ForwarderChild],
) -> None:
    child = start(LISTENS + "control.recv(1)")
    assert child.process is not None
    pid = child.process.pid
    child.hang_up()
    child.abandon()
    assert not child.alive
    assert child.pidfd == -1
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert start(LISTENS + "control.recv(1)", child).alive


def test_a_kernel_without_pidfds_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(pid: int) -> int:
        raise OSError(errno.ENOSYS, "not here")

    check_kernel()
    monkeypatch.setattr(os, "pidfd_open", refused)
    with pytest.raises(ConfigError) as told:
        check_kernel()
    assert told.value.problems == [
        "pidfd_open(2): found ENOSYS; allowed: Linux 5.3 or later, and a sandbox that lets it through"
    ]


def test_nothing_is_imported_from_the_working_directory(tmp_path: Path) -> None:
    for name in ("structlog", "platform", "bascule"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('this is not what was asked for')")
    route = {"name": "r", "path": "/", "upstream": "http://127.0.0.1:9"}
    with run_bascule(tmp_path, {"routes": [route]}) as proxy:
        assert proxy.metric("bascule_gateway_restarts_total") == 0
        assert proxy.metric("bascule_forwarder_restarts_total") == 0
