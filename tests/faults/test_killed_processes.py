"""Processes of the proxy are killed under load; what must still be true is checked.

A session does not survive the loss of its forwarder. What passed is a prefix of what was sent, then comes an
honest end: the session ends with its connection, never with a Close that somebody made up. The gauge of
sessions is right again, none is above the cap, all that were opened are counted as closed, and no counter
goes back. What is not here is in test_deaths.py; each state of a session is in test_states_and_deaths.py.
"""

from __future__ import annotations

import os
import random
import signal
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from bascule.telemetry.catalogue import CATALOGUE
from bascule.telemetry.metric import MetricKind
from tests.support.chatter import chatting
from tests.support.figures import Figures
from tests.support.frames import CLOSE
from tests.support.proctree import descriptors, forwarders, gateway, gateways, kill
from tests.support.rawclient import connected, upgrade
from tests.support.series import read_series
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.bascule import RunningBascule
    from tests.support.rawupstream import RawUpstream

    Proxy = Callable[..., RunningBascule]

ROUNDS = int(os.environ.get("BASCULE_TEST_ROUNDS", "1"))
"""Proxies whose processes die at random points, four deaths each: after more, a restart waits for longer."""

FULL = b"WebSocket session cap reached (maxSessionsPerApp)"


def _settles_at(bascule: RunningBascule, sessions: int) -> None:
    eventually(lambda: bascule.in_flight_if_up == sessions, 30, f"{sessions} sessions are counted")


def _works(bascule: RunningBascule) -> bool:
    """Open a session and use it; tell whether it was one, and not a 1013 for want of a forwarder."""
    with connected(bascule.public_url) as client:
        client.open(b"/")
        client.say(b"hello")
        return client.reply().payload == b"hello"


def _new_session_works(bascule: RunningBascule) -> None:
    assert _works(bascule)


# -- a forwarder ------------------------------------------------------------------------------------


def _slots_with_one_more(bascule: RunningBascule) -> list[int]:
    """Return which forwarders carry the sessions while there is one more."""
    with connected(bascule.public_url) as client:
        client.open(b"/")
        return sorted(row["forwarder"] for row in bascule.sessions())


def test_a_killed_forwarder_takes_its_own_sessions_with_it_and_no_other(proxy: Proxy) -> None:
    bascule = proxy()
    with chatting(bascule.public_url, 6) as chatter:
        chatter.progress()
        victim, survivor = forwarders(bascule)
        figures = Figures(bascule)
        kill(victim)
        eventually(lambda: len(chatter.ended) == 3, 5, "the victim's three sessions have ended")
        chatter.progress(chatter.living)
        assert len(chatter.living) == 3
        assert {talker.ended for talker in chatter.ended} <= {"eof", "error"}
        _settles_at(bascule, 3)
        moved = figures.moved()
        assert moved["bascule_sessions_lost_total"] == 3
        assert bascule.metric("bascule_sessions_ended_total", ended_by="proxy", cause="internal") == 3
        assert moved["ws_connection_duration_seconds_count"] == 3
        eventually(lambda: len(forwarders(bascule)) == 2, 10, "it is replaced")
        assert survivor in forwarders(bascule)
        eventually(lambda: bascule.metric("bascule_forwarder_restarts_total") == 1, 10, "it is counted")
    lost = [line for line in bascule.log_lines if line.get("cause") == "internal"]
    assert len(lost) == 3
    assert not any("bytes_inbound" in line for line in lost), "nobody knows, and nothing is not nought"


def test_new_sessions_go_to_the_replacement(proxy: Proxy) -> None:
    bascule = proxy()
    with chatting(bascule.public_url, 4) as chatter:
        old = forwarders(bascule)
        kill(old[0])
        eventually(lambda: len(chatter.ended) == 2, 5, "its sessions have ended")
        eventually(lambda: len(forwarders(bascule)) == 2, 10, "it is replaced")
        # It is counted with its channel, and used once it has listed what it carries on it.
        eventually(lambda: bascule.metric("bascule_forwarder_restarts_total") == 1, 10, "it is counted")
        eventually(lambda: _slots_with_one_more(bascule) == [0, 1, 1], 10, "it is used")
        _settles_at(bascule, 2)
        with chatting(bascule.public_url, 2) as more:
            more.progress()
            eventually(lambda: len(bascule.sessions()) == 4, 5, "a list that is newer than all of them")
            slots = sorted(row["forwarder"] for row in bascule.sessions())
            assert slots == [0, 0, 1, 1]


@pytest.mark.parametrize("first", ["gateway", "forwarder"])
def test_sessions_of_a_forwarder_that_dies_together_with_the_gateway_are_counted(
    proxy: Proxy, first: str
) -> None:
    bascule = proxy()
    with chatting(bascule.public_url, 6) as chatter:
        chatter.progress()
        victims = [gateway(bascule), forwarders(bascule)[0]]
        for pid in victims if first == "gateway" else reversed(victims):
            os.kill(pid, signal.SIGKILL)
        eventually(lambda: len(chatter.ended) == 3, 10, "the forwarder's three sessions have ended")
        _settles_at(bascule, 3)
        eventually(lambda: bascule.metric("bascule_sessions_lost_total") == 3, 20, "they are counted")
        # How long they lasted is known where the gateway still heard of the death, and to nobody else.
        known = bascule.metric("bascule_sessions_ended_total", ended_by="proxy", cause="internal")
        assert bascule.metric("ws_connection_duration_seconds_count") == known
        assert (bascule.metric("ws_connection_duration_seconds_sum") > 0) == (known > 0)


def test_sessions_that_a_new_gateway_was_not_told_of_before_their_forwarder_died_are_counted(
    proxy: Proxy,
) -> None:
    bascule = proxy()
    with chatting(bascule.public_url, 6) as chatter:
        chatter.progress()
        victim = forwarders(bascule)[0]
        kill(victim, signal.SIGSTOP)
        before = gateway(bascule)
        kill(before)
        eventually(lambda: gateways(bascule) not in ([], [before]), 10, "another gateway begins")
        kill(victim)
        _settles_at(bascule, 3)
        eventually(lambda: bascule.metric("bascule_sessions_lost_total") == 3, 20, "they are counted")


# -- the gateway ---------------------------------------------------------------------------------------


def test_the_new_gateway_counts_exactly_and_keeps_the_cap(proxy: Proxy) -> None:
    bascule = proxy(websocketProxy={"maxSessionsPerApp": 5})
    with chatting(bascule.public_url, 5) as chatter:
        kill(gateway(bascule))
        _settles_at(bascule, 5)
        with connected(bascule.public_url) as refused:
            refused.send(upgrade())
            assert refused.head().status == 101
            assert refused.refusal().reason == FULL
        chatter.progress()
    _settles_at(bascule, 0)
    _new_session_works(bascule)


def test_whoever_has_seen_a_101_keeps_the_session_when_the_gateway_dies(proxy: Proxy) -> None:
    bascule = proxy()
    with ExitStack() as stack:
        clients = [stack.enter_context(connected(bascule.public_url)) for _ in range(60)]
        for number, client in enumerate(clients):
            client.send(upgrade())
            if number == 40:
                kill(gateway(bascule))  # in the middle of the others' handshakes
        opened = [client for client in clients if client.switched()]
        assert opened
        for client in opened:
            client.say(b"hello")
        assert {client.frame().payload for client in opened} == {b"hello"}
        _settles_at(bascule, len(opened))


def test_sessions_that_end_between_two_gateways_are_not_counted_by_the_second(proxy: Proxy) -> None:
    bascule = proxy()
    with chatting(bascule.public_url, 6) as chatter, chatting(bascule.public_url, 2) as leavers:
        chatter.progress()
        figures = Figures(bascule)
        pid = gateway(bascule)
        kill(pid, signal.SIGSTOP)
        leavers.stop()  # nobody is told
        chatter.progress()
        kill(pid)
        _settles_at(bascule, 6)
        eventually(
            lambda: figures.moved().get("ws_connection_duration_seconds_count") == 2,
            10,
            "the forwarders counted",
        )
        eventually(lambda: len(bascule.events("session ended")) == 2, 10, "each has its line")


def test_counters_go_on_from_where_they_were(proxy: Proxy, upstream: RawUpstream) -> None:
    bascule = proxy(websocketProxy={"maxSessionsPerApp": 1}, limits={"refusalHoldMax": 0})
    with connected(bascule.public_url) as client:
        client.open(b"/")
        for _ in range(3):
            with connected(bascule.public_url) as refused:
                refused.send(upgrade())
                refused.head()
                refused.refusal()
        client.say(b"hello")
        client.frame()
        before = {
            name: bascule.metric(name)
            for name in (
                "ws_connection_rejections_total",
                "bascule_frames_total",
                "bascule_payload_bytes_total",
            )
        }
        assert before["ws_connection_rejections_total"] == 3
        kill(gateway(bascule))
        for pid in forwarders(bascule):
            kill(pid)
        eventually(lambda: bascule.in_flight_if_up == 0, 10, "it is back, and the session is gone")
        assert {name: bascule.metric(name) for name in before} == before


def test_no_counter_goes_back_when_everything_dies(proxy: Proxy) -> None:  # FH10
    bascule = proxy()
    with chatting(bascule.public_url, 4) as chatter:
        chatter.progress()
    _settles_at(bascule, 0)
    # Twice: what the first processes used is then more than what those that are there now have used.
    _replace_all(bascule)
    before = _counters(bascule)
    _replace_all(bascule)
    after = _counters(bascule)
    for name in ("bascule_forwarder_cpu_seconds_total", "bascule_gc_seconds_total"):
        assert all(value > 0 for series, value in before.items() if series.startswith(name))
    assert {series: after[series] for series, value in before.items() if after[series] < value} == {}


def _replace_all(bascule: RunningBascule) -> None:
    """Kill the forwarders and then the gateway, and wait until others are there."""
    victims = forwarders(bascule)
    for pid in victims:
        kill(pid)
    eventually(lambda: len(set(forwarders(bascule)) - set(victims)) == 2, 10, "forwarders are replaced")
    kill(gateway(bascule))
    _settles_at(bascule, 0)


def _counters(bascule: RunningBascule) -> dict[str, float]:
    """Return the value of every counter's series."""
    kinds = {metric.name: metric.kind for metric in CATALOGUE}
    return {
        series: value
        for series, value in read_series(bascule.metrics()).items()
        if kinds.get(series.partition("{")[0]) is MetricKind.COUNTER
    }


@pytest.fixture
def keyed(proxy: Proxy, upstream: RawUpstream, tmp_path: Path) -> tuple[RunningBascule, Path]:
    """Return a proxy whose gateway does not start without a file, and that file."""
    key = tmp_path / "signing.key"
    key.write_text("k" * 128)
    routes = [
        {"name": "all", "path": "/", "upstream": upstream.url},
        {"name": "private", "path": "/private", "upstream": upstream.url, "auth": "session"},
    ]
    return proxy(routes=routes, auth={"session": {"keyFile": str(key)}}), key


def _end_the_gateway(bascule: RunningBascule, key: Path) -> Path:
    """Kill the gateway so that it does not come back; return where its key is now.

    For a second there is none at all: a forwarder that dies while one starts is known to nobody who lives on.
    """
    elsewhere = key.rename(key.with_name("elsewhere"))
    kill(gateway(bascule))
    eventually(lambda: len(bascule.events("a process died")) >= 3, 15, "its successors refuse to start")
    return elsewhere


def test_sessions_lost_without_a_gateway_are_counted(keyed: tuple[RunningBascule, Path]) -> None:
    bascule, key = keyed
    with chatting(bascule.public_url, 4) as chatter:
        elsewhere = _end_the_gateway(bascule, key)
        kill(forwarders(bascule)[0])
        eventually(lambda: len(chatter.ended) == 2, 10, "the forwarder's sessions have ended")
        elsewhere.rename(key)
        _settles_at(bascule, 2)
        assert bascule.metric("bascule_sessions_lost_total") == 2
        for metric in ("ws_connection_duration_seconds", "bascule_session_duration_seconds"):
            assert [bascule.metric(f"{metric}_{figure}") for figure in ("count", "sum")] == [0, 0], (
                "who knows"
            )
        chatter.progress(chatter.living)


def test_sessions_are_lost_once_though_the_next_forwarder_dies_before_it_has_begun(
    keyed: tuple[RunningBascule, Path],
) -> None:
    bascule, key = keyed
    with chatting(bascule.public_url, 4) as chatter:
        elsewhere = _end_the_gateway(bascule, key)
        before = forwarders(bascule)
        kill(before[0])
        (successor,) = eventually(lambda: set(forwarders(bascule)).difference(before), 10, "it is replaced")
        kill(successor)
        elsewhere.rename(key)
        _settles_at(bascule, 2)
        assert bascule.metric("bascule_sessions_lost_total") == 2
        chatter.progress(chatter.living)
    died = [line for line in bascule.events("a process died") if line["child"].startswith("forwarder")]
    assert [line["sessions"] for line in died] == [2, 0]


def test_sessions_outlive_a_gateway_that_cannot_come_back(keyed: tuple[RunningBascule, Path]) -> None:
    bascule, key = keyed
    with chatting(bascule.public_url, 4) as chatter:
        elsewhere = _end_the_gateway(bascule, key)
        chatter.progress()
        elsewhere.rename(key)
        _settles_at(bascule, 4)
        chatter.progress()
        back = eventually(lambda: bascule.events("a process is back"), 10, "the supervisor says so")
        assert [(line["child"], line["level"]) for line in back] == [("gateway", "info")]


def test_a_session_that_ends_while_a_gateway_fails_to_start_has_its_line(
    keyed: tuple[RunningBascule, Path],
) -> None:
    bascule, key = keyed
    with connected(bascule.public_url) as client:
        client.open(b"/")
        elsewhere = key.rename(key.with_name("elsewhere"))
        kill(former := gateway(bascule))
        eventually(lambda: former not in (found := gateways(bascule)) and found, 10, "another one starts")
        client.say(b"", CLOSE)
        assert client.reply().opcode == CLOSE
        client.goodbye()
    eventually(lambda: len(bascule.events("a process died")) >= 2, 15, "it refuses to start")
    elsewhere.rename(key)
    eventually(lambda: bascule.events("session ended"), 20, "the next one is told")
    assert bascule.metric("bascule_session_duration_seconds_count") == 1


# -- all of it, at random ----------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(20, 20 + ROUNDS))
def test_random_deaths_under_load_leave_nothing_behind(proxy: Proxy, seed: int) -> None:  # 90
    bascule = proxy(websocketProxy={"maxSessionsPerApp": 30, "heartbeatIntervalMs": 50})
    dice = random.Random(seed)
    _new_session_works(bascule)
    _settles_at(bascule, 0)
    baseline = len(descriptors(bascule.process.pid))
    with chatting(bascule.public_url, 20) as chatter:
        for _ in range(4):
            chatter.progress(messages=dice.randrange(1, 10))
            victim = dice.choice([gateway(bascule), *forwarders(bascule)])
            kill(victim)
            chatter.check()
            eventually(
                lambda: len(forwarders(bascule)) == 2 and bascule.in_flight_if_up == len(chatter.living),
                20,
                "the count is that of the living",
            )
        assert {talker.ended for talker in chatter.ended} <= {"eof", "error"}
    _settles_at(bascule, 0)
    _new_session_works(bascule)
    eventually(lambda: len(descriptors(bascule.process.pid)) <= baseline, 5, "the supervisor's descriptors")
    text = bascule.process.log.read_text()
    assert "Traceback" not in text
