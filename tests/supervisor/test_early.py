"""Signals that come in before the supervisor catches them: while files are read, and addresses waited for."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.firstprocess import FirstProcess
from tests.support.processes import Service, reserve_port
from tests.support.proctree import state

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BASCULE = (sys.executable, "-m", "bascule")


def serve(file: Path) -> list[str]:
    """Return the arguments for one that is to read a file."""
    return ["serve", "--config", str(file), "--upstream", "http://127.0.0.1:9"]


def chp(port: int) -> list[str]:
    """Return the arguments for one that waits while somebody has this port."""
    return ["chp", "--ip", "127.0.0.1", "--port", str(port), "--api-ip", "127.0.0.1", "--api-port", "0"]


def events(service: Service) -> list[str]:
    """Return what it logged so far."""
    return [json.loads(line)["event"] for line in service.log.read_text().splitlines()]


def wait_for(event: str, service: Service) -> None:
    service.wait_until(lambda: event in events(service), 20)


@pytest.fixture
def unwritten(tmp_path: Path) -> Path:
    """A file whose reader waits for somebody to write it."""
    file = tmp_path / "bascule.yaml"
    os.mkfifo(file)
    return file


@contextlib.contextmanager
def being_read(file: Path, service: Service) -> Iterator[None]:
    """Wait until a file is being read, and let nothing come while the block lasts, not even its end."""
    writer = -1

    def is_read() -> bool:
        nonlocal writer
        with contextlib.suppress(OSError):  # until there is a reader
            writer = os.open(file, os.O_WRONLY | os.O_NONBLOCK)
        return writer >= 0

    service.wait_until(is_read, 20)
    try:
        # Opening has woken it; a signal before it sleeps in the read would be heard only behind that.
        service.wait_until(lambda: state(service.pid) == "S", 20)
        yield
    finally:
        os.close(writer)


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """A port that is in use until it is closed."""
    monkeypatch.setenv("CONFIGPROXY_AUTH_TOKEN", "hush")
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("127.0.0.1", reserve_port()))
        listening.listen()
        yield listening


def test_a_stop_ends_a_start_that_waits_for_a_file(tmp_path: Path, unwritten: Path) -> None:
    service = Service("bascule", [*BASCULE, *serve(unwritten)], tmp_path / "log")
    with being_read(unwritten, service):
        assert service.stop() == -signal.SIGTERM
    assert service.said() == ""


def test_the_first_process_of_a_container_hears_a_stop_while_it_waits_for_a_file(
    tmp_path: Path, unwritten: Path
) -> None:
    service = FirstProcess(tmp_path / "log", *serve(unwritten))
    try:
        with being_read(unwritten, service):
            os.kill(service.pid, signal.SIGTERM)
            assert service.process.wait(5) == 128 + signal.SIGTERM
    finally:
        service.stop()
    assert service.said() == ""


def test_the_first_process_of_a_container_hears_a_stop_while_it_waits_for_a_port(
    tmp_path: Path, taken: socket.socket
) -> None:
    service = FirstProcess(tmp_path / "log", *chp(taken.getsockname()[1]))
    try:
        wait_for("waiting for an address that is in use", service)
        os.kill(service.pid, signal.SIGTERM)
        assert service.process.wait(5) == 128 + signal.SIGTERM
    finally:
        service.stop()
    assert len(events(service)) == 1


@pytest.mark.parametrize(
    ("number", "event"),
    [(signal.SIGHUP, "configuration reloaded"), (signal.SIGUSR1, "signal ignored")],
)
def test_what_means_something_to_a_proxy_that_serves_is_kept_until_it_does(
    tmp_path: Path, taken: socket.socket, number: signal.Signals, event: str
) -> None:
    service = Service("bascule", [*BASCULE, *chp(taken.getsockname()[1])], tmp_path / "log")
    try:
        wait_for("waiting for an address that is in use", service)
        service.process.send_signal(number)
        taken.close()
        wait_for("listening", service)
        wait_for(event, service)
    finally:
        assert service.stop(30) == 0, service.said()


HELD = """\
import signal
from bascule.supervisor import early
early.catch()
{before}
try:
    with early.held():
        {within}
        print("noted", flush=True)
    {after}
    print("all was done", flush=True)
except early.Stopped as stopped:
    print(stopped.code, flush=True)
"""

STOP, HANG_UP = (f"signal.raise_signal(signal.{name})" for name in ("SIGTERM", "SIGHUP"))


def held(before: str = "pass", within: str = "pass", after: str = "pass") -> list[str]:
    """Return what a process said that holds back the end for a while."""
    script = HELD.format(before=before, within=within, after=after)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, start_new_session=True
    )
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_an_end_that_is_held_back_comes_afterwards_and_once() -> None:
    assert held(within=STOP) == ["noted", "143"]
    assert held(within=f"{STOP}; {STOP}") == ["noted", "143"]
    assert held(after=STOP) == ["noted", "143"]


def test_a_hang_up_ends_those_alone_that_load_nothing_again() -> None:
    assert held(within=HANG_UP) == ["noted", "all was done"]
    assert held(before="early.end_on_hang_up()", within=HANG_UP) == ["noted", "129"]
    assert held(before=HANG_UP, after="early.end_on_hang_up()") == ["noted", "129"]


def test_the_end_of_a_terminal_ends_a_start_on_it(tmp_path: Path, taken: socket.socket) -> None:
    primary, secondary = pty.openpty()
    command = [*BASCULE, *chp(taken.getsockname()[1])]
    on_terminal = f'exec setsid --ctty --wait "$@" <{os.ttyname(secondary)}'
    service = Service("bascule", ["sh", "-c", on_terminal, "sh", *command], tmp_path / "log")
    os.close(secondary)
    try:
        wait_for("waiting for an address that is in use", service)
        os.close(primary)
        service.process.wait(5)
    finally:
        service.stop()
    assert "did not exit normally" in service.said(), "but of the signal, as setsid(1) has it"


LOADING = """
import os, signal, sys, types, weakref
from bascule.__main__ import main

class Lock:
    pass

def loaded(name):
    if name != "main":
        raise AttributeError(name)
    lock = Lock()
    watched = weakref.ref(lock, lambda _: os.kill(os.getpid(), signal.NUMBER))
    del lock
    return lambda: None

cli = types.ModuleType("bascule.cli")
cli.__getattr__ = loaded
sys.modules["bascule.cli"] = cli
main()
"""
"""A command whose modules are still being loaded when a signal comes, in a callback as importlib has them."""


def test_a_stop_while_modules_are_loaded_is_not_lost_in_a_callback() -> None:
    program = LOADING.replace("NUMBER", "SIGTERM")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGTERM, b"", b"")


def test_an_interrupt_while_modules_are_loaded_ends_the_command_and_says_nothing() -> None:
    program = LOADING.replace("lock = Lock()", "raise KeyboardInterrupt")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, b"", b"")
