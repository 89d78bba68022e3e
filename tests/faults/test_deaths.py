"""Processes are killed under load; what must survive does, and the counts stay exact."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.support.echo import run_echo
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.bascule import RunningBascule

    Start = Callable[..., RunningBascule]


@pytest.fixture(scope="module")
def echo() -> Iterator[str]:
    with run_echo() as url:
        yield url


@pytest.fixture
def proxy(bascule: Start, echo: str) -> RunningBascule:
    return bascule({"routes": [{"name": "echo", "path": "/", "upstream": echo}], "forwarders": {"count": 2}})


def children(proxy: RunningBascule, module: str) -> list[int]:
    """Return the ids of the children that run one module."""
    pid = proxy.process.process.pid
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    found = []
    for child in map(int, text.split()):
        try:
            words = Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if module.encode() in words:
            found.append(child)
    return found


def is_alive(pid: int) -> bool:
    try:
        return " Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2][:3]
    except OSError:
        return False


def open_session(proxy: RunningBascule) -> ClientConnection:
    return connect(proxy.public_url.replace("http", "ws") + "/", ping_interval=None, legacy=True)


def says(session: ClientConnection, text: str) -> bool:
    try:
        session.send(text)
        return session.recv(timeout=10) == text
    except ConnectionClosed:
        return False


def public(log: Path) -> str:
    """Return where it listens, once it has said so."""
    return log.read_text().partition('"public":"')[2].partition('"')[0]


def in_flight(proxy: RunningBascule) -> float | None:
    try:
        return proxy.metric("ws_connection_in_flight_count")
    except OSError:
        return None


def test_the_gateways_death_ends_no_session_and_its_successor_knows_the_count(proxy: RunningBascule) -> None:
    sessions = [open_session(proxy) for _ in range(20)]
    ended = proxy.metric("ws_connection_duration_seconds_count")
    (gateway,) = children(proxy, "bascule.gateway")
    os.kill(gateway, signal.SIGKILL)
    sessions.pop().close()  # while nobody counts
    assert all(says(session, f"without {number}") for number, session in enumerate(sessions))
    eventually(lambda: in_flight(proxy) == 19, 20, "the new gateway knows 19 sessions")
    assert proxy.metric("ws_connection_duration_seconds_count") == ended + 1
    assert proxy.metric("bascule_gateway_restarts_total") == 1
    assert all(says(session, "after") for session in sessions)
    sessions.append(open_session(proxy))
    eventually(lambda: in_flight(proxy) == 20, 5, "and goes on from there")
    for session in sessions:
        session.close()
    eventually(lambda: in_flight(proxy) == 0, 5, "every lease comes back")


def test_a_forwarders_death_ends_its_own_sessions_only_and_gives_their_leases_back(
    proxy: RunningBascule,
) -> None:
    sessions = [open_session(proxy) for _ in range(20)]
    victim = children(proxy, "bascule.forwarder")[0]
    os.kill(victim, signal.SIGKILL)
    eventually(lambda: in_flight(proxy) == 10, 10, "half of the leases are back")
    survivors = [session for session in sessions if says(session, "still here")]
    assert len(survivors) == 10
    assert proxy.metric("bascule_sessions_lost_total") == 10
    assert proxy.metric("bascule_sessions_ended_total", ended_by="proxy", cause="internal") == 10
    eventually(lambda: len(children(proxy, "bascule.forwarder")) == 2, 10, "it is started again")
    eventually(lambda: proxy.metric("bascule_forwarder_restarts_total") == 1, 10, "and counted")
    more = [open_session(proxy) for _ in range(10)]
    assert all(says(session, "new") for session in more)
    for session in (*survivors, *more):
        session.close()
    eventually(lambda: in_flight(proxy) == 0, 5, "every lease comes back")
    admitted = proxy.metric("ws_connection_duration_seconds_count")
    assert admitted == 30, "opened = closed + open"


def test_forwarders_killed_under_load_never_corrupt_what_arrives(proxy: RunningBascule) -> None:
    """FH1: what a client got back is a prefix of what it sent, whoever died meanwhile."""
    stop = threading.Event()
    wrong: list[str] = []
    rounds = [0] * 6

    def talk(number: int) -> None:
        while not stop.is_set():
            try:
                session = open_session(proxy)
            except Exception:  # the proxy is between two deaths
                continue
            try:
                while not stop.is_set():
                    text = f"{number}-{rounds[number]}-" + "x" * (rounds[number] * 7919 % 70000)
                    session.send(text)
                    if session.recv(timeout=20) != text:
                        wrong.append(text[:40])
                        return
                    rounds[number] += 1
            except (ConnectionClosed, OSError, TimeoutError):
                continue

    threads = [threading.Thread(target=talk, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(4):
            before = sum(rounds)
            eventually(lambda before=before: sum(rounds) > before + 50, 30, "traffic flows")  # type: ignore[misc]
            for victim in children(proxy, "bascule.forwarder")[:1]:
                os.kill(victim, signal.SIGKILL)
    finally:
        stop.set()
        for thread in threads:
            thread.join(30)
    assert wrong == []
    eventually(lambda: in_flight(proxy) == 0, 10, "every lease comes back")


def test_nothing_is_orphaned_when_the_supervisor_is_killed(tmp_path: Path, echo: str) -> None:
    log = tmp_path / "log"
    command = [
        str(Path(sys.executable).parent / "bascule"),
        "serve",
        "--upstream",
        echo,
        "--listen",
        "127.0.0.1:0",
    ]
    with log.open("wb") as file:
        process = subprocess.Popen([*command, "--admin", "127.0.0.1:0", "--log-format", "json"], stderr=file)
    eventually(lambda: b'"listening"' in log.read_bytes(), 30, "it listens")
    pid = process.pid
    orphans = [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    assert len(orphans) >= 2
    process.kill()
    process.wait()
    eventually(lambda: not any(is_alive(orphan) for orphan in orphans), 15, "they leave by themselves")


@pytest.mark.parametrize("busy", [False, True], ids=["at-once", "waiting-for-a-boundary"])
def test_a_second_signal_ends_everything_at_once(
    bascule: Start, echo: str, tmp_path: Path, busy: bool
) -> None:
    log = tmp_path / "log"
    config = tmp_path / "c.yaml"
    config.write_text(
        json.dumps(
            {
                "listen": "127.0.0.1:0",
                "admin": "127.0.0.1:0",
                "drain": {"timeout": "60s", "naturalEnd": "50s"},
                "routes": [{"name": "e", "path": "/", "upstream": echo}],
                "log": {"format": "json"},
            }
        )
    )
    with log.open("wb") as file:
        process = subprocess.Popen(
            [Path(sys.executable).parent / "bascule", "serve", "--config", config], stderr=file
        )
    try:
        said = eventually(lambda: public(log), 30, "it listens")
        session = connect(f"ws://{said}/", legacy=True)
        assert says(session, "hello")
        process.send_signal(signal.SIGTERM)
        eventually(lambda: '"stopping"' in log.read_text(), 10, "it drains")
        if busy:
            assert says(session, "still relayed")
        begun = time.monotonic()
        process.send_signal(signal.SIGTERM)
        process.wait(10)
        assert time.monotonic() - begun < 5
        session.close()
    finally:
        process.kill()
        process.wait()


def test_draining_at_once_with_a_timeout_of_zero(bascule: Start, echo: str) -> None:
    proxy = bascule({"routes": [{"name": "echo", "path": "/", "upstream": echo}], "drain": {"timeout": 0}})
    sessions = [open_session(proxy) for _ in range(5)]
    begun = time.monotonic()
    assert proxy.process.stop(20) == 0
    assert time.monotonic() - begun < 5
    for session in sessions:
        with pytest.raises(ConnectionClosed) as ended:
            session.recv(timeout=5)
        assert ended.value.rcvd is not None
        assert ended.value.rcvd.code == 1012
