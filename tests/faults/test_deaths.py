"""Processes are killed under load; what must survive does, and the counts stay exact."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.support.echo import run_echo
from tests.support.processes import reserve_port
from tests.support.proctree import alive, children, forwarders, gateway, kill
from tests.support.rawclient import connected, upgrade
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


def open_session(proxy: RunningBascule) -> ClientConnection:
    return connect(proxy.public_url.replace("http", "ws") + "/", ping_interval=None, legacy=True)


def says(session: ClientConnection, text: str) -> bool:
    try:
        session.send(text)
        return session.recv(timeout=10) == text
    except ConnectionClosed:
        return False


def public(log: Path, listener: str = "public") -> str:
    """Return where it listens, once it has said so."""
    return log.read_text().partition(f'"{listener}":"')[2].partition('"')[0]


def why_unready(admin: str) -> str:
    """Return what a probe is told that finds the pod not ready."""
    with pytest.raises(urllib.error.HTTPError) as unready:
        urllib.request.urlopen(f"{admin}/readyz", timeout=10)
    with unready.value as answer:
        assert answer.code == 503
        return str(json.load(answer)["reason"])


def refusals(proxy: RunningBascule) -> list[str]:
    return [line["reason"] for line in proxy.log_lines if line.get("event") == "session refused"]


def test_the_gateways_death_ends_no_session_and_its_successor_knows_the_count(proxy: RunningBascule) -> None:
    sessions = [open_session(proxy) for _ in range(20)]
    ended = proxy.metric("ws_connection_duration_seconds_count")
    started = proxy.metric("bascule_start_time_seconds")
    os.kill(gateway(proxy), signal.SIGKILL)
    sessions.pop().close()  # while nobody counts
    assert all(says(session, f"without {number}") for number, session in enumerate(sessions))
    eventually(lambda: proxy.in_flight_if_up == 19, 20, "the new gateway knows 19 sessions")
    assert proxy.metric("ws_connection_duration_seconds_count") == ended + 1
    assert proxy.metric("bascule_gateway_restarts_total") == 1
    assert proxy.metric("bascule_start_time_seconds") == started
    assert all(says(session, "after") for session in sessions)
    sessions.append(open_session(proxy))
    eventually(lambda: proxy.in_flight_if_up == 20, 5, "and goes on from there")
    for session in sessions:
        session.close()
    eventually(lambda: proxy.in_flight_if_up == 0, 5, "every lease comes back")


def test_a_drain_that_was_asked_for_outlives_the_gateway_that_was_asked(bascule: Start, echo: str) -> None:
    proxy = bascule(
        {
            "routes": [{"name": "echo", "path": "/", "upstream": echo}],
            "drain": {"timeout": "60s", "naturalEnd": "15s"},
        }
    )
    session = open_session(proxy)
    proxy.drain()
    os.kill(gateway(proxy), signal.SIGKILL)
    eventually(lambda: proxy.in_flight_if_up == 1, 20, "the new gateway knows the session")
    assert proxy.metric("ws_draining") == 1
    assert why_unready(proxy.admin_url).startswith("draining")
    with open_session(proxy) as late, pytest.raises(ConnectionClosed) as refused:
        late.recv(timeout=10)
    assert refused.value.rcvd is not None
    assert refused.value.rcvd.code == 1012
    assert proxy.metric("bascule_refusals_total", reason="draining") == 1
    eventually(lambda: refusals(proxy) == ["draining"], 5, "it is said")
    with session, pytest.raises(ConnectionClosed) as ended:
        session.recv(timeout=20)
    assert ended.value.rcvd is not None
    assert ended.value.rcvd.code == 1012


def test_a_forwarders_death_ends_its_own_sessions_only_and_gives_their_leases_back(
    proxy: RunningBascule,
) -> None:
    sessions = [open_session(proxy) for _ in range(20)]
    victim = forwarders(proxy)[0]
    os.kill(victim, signal.SIGKILL)
    eventually(lambda: proxy.in_flight_if_up == 10, 10, "half of the leases are back")
    survivors = [session for session in sessions if says(session, "still here")]
    assert len(survivors) == 10
    assert proxy.metric("bascule_sessions_lost_total") == 10
    assert proxy.metric("bascule_sessions_ended_total", ended_by="proxy", cause="internal") == 10
    eventually(lambda: len(forwarders(proxy)) == 2, 10, "it is started again")
    eventually(lambda: proxy.metric("bascule_forwarder_restarts_total") == 1, 10, "and counted")
    more = [open_session(proxy) for _ in range(10)]
    assert all(says(session, "new") for session in more)
    for session in (*survivors, *more):
        session.close()
    eventually(lambda: proxy.in_flight_if_up == 0, 5, "every lease comes back")
    admitted = proxy.metric("ws_connection_duration_seconds_count")
    assert admitted == 30, "opened = closed + open"


def test_a_signal_without_a_name_ends_one_process_and_not_all(proxy: RunningBascule) -> None:
    os.kill(forwarders(proxy)[0], signal.SIGRTMIN + 1)
    said = f"signal {signal.SIGRTMIN + 1}"
    eventually(lambda: any(line.get("status") == said for line in proxy.log_lines), 20, "it is noticed")
    eventually(lambda: len(forwarders(proxy)) == 2, 20, "it is back")


def test_forwarders_killed_under_load_never_corrupt_what_arrives(proxy: RunningBascule) -> None:
    """What a client got back is a prefix of what it sent, whoever died meanwhile."""
    stop = threading.Event()
    wrong: list[str] = []
    rounds = [0] * 6

    def talk(number: int) -> None:
        while not stop.is_set():
            try:
                session = open_session(proxy)
            except Exception:  # the proxy is between two deaths
                continue
            # Its threads hold a session that nobody closes.
            with contextlib.closing(session), contextlib.suppress(ConnectionClosed, OSError, TimeoutError):
                while not stop.is_set():
                    text = f"{number}-{rounds[number]}-" + "x" * (rounds[number] * 7919 % 70000)
                    session.send(text)
                    if session.recv(timeout=20) != text:
                        wrong.append(text[:40])
                        return
                    rounds[number] += 1

    threads = [threading.Thread(target=talk, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(4):
            before = sum(rounds)
            eventually(lambda before=before: sum(rounds) > before + 50, 30, "traffic flows")  # type: ignore[misc]
            for victim in forwarders(proxy)[:1]:
                os.kill(victim, signal.SIGKILL)
    finally:
        stop.set()
        for thread in threads:
            thread.join(30)
    assert wrong == []
    eventually(lambda: proxy.in_flight_if_up == 0, 10, "every lease comes back")


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
    try:
        eventually(lambda: b'"listening"' in log.read_bytes(), 30, "it listens")
        orphans = list(children(process.pid))
        assert len(orphans) >= 2
    finally:
        process.kill()
        process.wait()
    eventually(lambda: not any(alive(orphan) for orphan in orphans), 15, "they leave by themselves")


def test_who_is_held_when_the_supervisor_is_killed_is_told_so(tmp_path: Path) -> None:
    log = tmp_path / "log"
    dead = f"http://127.0.0.1:{reserve_port()}"
    command = [str(Path(sys.executable).parent / "bascule"), "serve", "--upstream", dead]
    command += ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--log-format", "json"]
    with log.open("wb") as file, contextlib.ExitStack() as stack:
        process = subprocess.Popen(command, stderr=file)
        try:
            eventually(lambda: b'"listening"' in log.read_bytes(), 30, "it listens")
            (said,) = [
                line for line in map(json.loads, log.read_text().splitlines()) if line["event"] == "listening"
            ]
            held = [stack.enter_context(connected(f"http://{said['public']}")) for _ in range(8)]
            for client in held:
                client.send(upgrade())
                assert client.head().status == 101
        finally:
            process.kill()
            process.wait()
        assert [client.refusal().code for client in held] == [1013] * 8
        eventually(lambda: log.read_bytes().count(b'"session refused"') == 8, 10, "each has its line")


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

        def impatient() -> bool:
            process.send_signal(signal.SIGTERM)
            return process.poll() is not None

        eventually(impatient, 10, "it ends, and not in a minute")
        session.close()
    finally:
        process.kill()
        process.wait()


def test_a_signal_before_anything_listens_is_a_stop_like_any_other(tmp_path: Path, echo: str) -> None:
    log = tmp_path / "log"
    words = ["serve", "--upstream", echo, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]
    script = str(Path(sys.executable).parent / "bascule")
    with log.open("wb") as file:
        process = subprocess.Popen([script, *words, "--log-format", "json"], stderr=file)
    try:
        pid = process.pid
        born = Path(f"/proc/{pid}/task/{pid}/children")  # before it can be told what each one runs
        family = eventually(lambda: born.read_text().split(), 30, "its first child starts")
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        assert "Traceback" not in log.read_text()
        assert not any(alive(int(child)) for child in family)
    finally:
        process.kill()
        process.wait()


def test_a_gateway_and_a_forwarder_found_dead_at_once_end_the_drain_and_not_the_supervisor(
    bascule: Start, echo: str
) -> None:
    proxy = bascule(
        {
            "routes": [{"name": "echo", "path": "/", "upstream": echo}],
            "forwarders": {"count": 2},
            "drain": {"timeout": "60s", "naturalEnd": "50s"},
        }
    )
    sessions = [open_session(proxy) for _ in range(2)]
    supervisor = proxy.process.process
    supervisor.send_signal(signal.SIGTERM)
    eventually(lambda: proxy.metric("ws_draining") == 1, 10, "it drains")
    first, second = gateway(proxy), forwarders(proxy)[0]
    supervisor.send_signal(signal.SIGSTOP)
    kill(first)
    kill(second)
    supervisor.send_signal(signal.SIGCONT)
    assert supervisor.wait(20) == 0
    told = 0
    for session in sessions:
        with session, pytest.raises(ConnectionClosed) as ended:
            session.recv(timeout=10)
        told += ended.value.rcvd is not None and ended.value.rcvd.code == 1012
    assert told == 1, "the other forwarder had its time"


def test_draining_at_once_with_a_timeout_of_zero(bascule: Start, echo: str) -> None:
    proxy = bascule({"routes": [{"name": "echo", "path": "/", "upstream": echo}], "drain": {"timeout": 0}})
    sessions = [open_session(proxy) for _ in range(5)]
    proxy.process.process.terminate()
    assert proxy.process.process.wait(10) == 0
    for session in sessions:
        with pytest.raises(ConnectionClosed) as ended:
            session.recv(timeout=5)
        assert ended.value.rcvd is not None
        assert ended.value.rcvd.code == 1012


def test_a_drain_may_be_allowed_longer_than_a_kernel_waits(bascule: Start, echo: str) -> None:
    route = {"name": "echo", "path": "/", "upstream": echo}
    proxy = bascule({"routes": [route], "drain": {"timeout": "1000h", "naturalEnd": "999h"}})
    session = open_session(proxy)
    proxy.process.process.send_signal(signal.SIGTERM)
    eventually(lambda: proxy.metric("ws_draining") == 1, 10, "the proxy drains")
    assert says(session, "still here")
    session.close()
    assert proxy.process.process.wait(20) == 0


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGUSR2])
def test_a_signal_that_means_something_to_others_ends_nobody(
    proxy: RunningBascule, number: signal.Signals
) -> None:
    with open_session(proxy) as session:
        supervisor = proxy.process.pid
        for member in (supervisor, *children(supervisor)):
            os.kill(member, number)
        eventually(
            lambda: any(line.get("signal") == number.name for line in proxy.log_lines), 10, "it is said"
        )
        assert says(session, "still here")
    assert not proxy.events("a process died")


def test_a_signal_to_the_whole_group_is_one_signal_and_the_drain_goes_on(tmp_path: Path, echo: str) -> None:
    """As systemd sends it, and `timeout`: to every process, twice to the first."""
    log, config = tmp_path / "log", tmp_path / "c.yaml"
    settings = {
        "listen": "127.0.0.1:0",
        "admin": "127.0.0.1:0",
        "drain": {"timeout": "20s", "naturalEnd": "15s"},
        "routes": [{"name": "e", "path": "/", "upstream": echo}],
        "log": {"format": "json"},
    }
    config.write_text(json.dumps(settings))
    with log.open("wb") as file:
        command = [str(Path(sys.executable).parent / "bascule"), "serve", "--config", str(config)]
        process = subprocess.Popen(command, stderr=file)
    try:
        said = eventually(lambda: public(log), 30, "it listens")
        session = connect(f"ws://{said}/", ping_interval=None, legacy=True)
        assert says(session, "hello")
        pid = process.pid
        family = [pid, pid, *children(pid)]
        for member in family:
            os.kill(member, signal.SIGTERM)
        eventually(lambda: '"drain begins"' in log.read_text(), 10, "it drains")
        assert says(session, "still relayed, since it may end by itself")
        session.close()
        assert process.wait(10) == 0
        text = log.read_text()
        assert "a process died" not in text
        assert '"natural":1' in text
    finally:
        process.kill()
        process.wait()


def test_a_forwarder_without_descriptors_refuses_and_keeps_what_it_has(tmp_path: Path, echo: str) -> None:
    log = tmp_path / "log"
    words = [
        "serve",
        "--upstream",
        echo,
        "--listen",
        "127.0.0.1:0",
        "--admin",
        "127.0.0.1:0",
        "--log-format",
        "json",
    ]
    command = [str(Path(sys.executable).parent / "bascule"), *words]
    with log.open("wb") as file:
        process = subprocess.Popen(["bash", "-c", 'ulimit -n 140; exec "$@"', "-", *command], stderr=file)
    sessions: list[ClientConnection] = []
    try:
        said = eventually(lambda: public(log), 30, "it listens")
        assert "the open-file limit is too low for maxSessionsPerApp" in log.read_text()
        forwarders = len(os.sched_getaffinity(0))
        fit = (140 - 64) // 2 * forwarders
        sessions += [connect(f"ws://{said}/", ping_interval=None, legacy=True) for _ in range(fit + 20)]
        with pytest.raises(ConnectionClosed) as ended:
            sessions[fit].recv(timeout=30)  # the first is told at once; repeats are held
        assert ended.value.rcvd is not None
        assert (ended.value.rcvd.code, ended.value.rcvd.reason) == (1013, "No forwarder can take a session")
        assert why_unready(f"http://{public(log, 'admin')}").startswith("no forwarder takes sessions")
        assert all(says(session, "still here") for session in sessions[:fit])
        assert "a process died" not in log.read_text()
    finally:
        process.terminate()
        process.wait(60)
        for session in sessions:
            session.close_socket()


def test_a_limit_of_open_files_that_fits_no_session_is_an_error(echo: str) -> None:
    script = str(Path(sys.executable).parent / "bascule")
    done = subprocess.run(
        [
            "bash",
            "-c",
            'ulimit -n 40; exec "$@"',
            "-",
            script,
            "serve",
            "--upstream",
            echo,
            *("--listen", "127.0.0.1:0"),
            *("--admin", "127.0.0.1:0"),
        ],
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 2
    assert b"ulimit -n" in done.stderr
    assert b"Traceback" not in done.stderr
