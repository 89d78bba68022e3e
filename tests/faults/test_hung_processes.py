"""Processes that live and do nothing more are given up, as if they had died."""

from __future__ import annotations

import signal
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.support.chatter import chatting
from tests.support.figures import Figures
from tests.support.proctree import forwarders, gateway, gateways, kill
from tests.support.rawclient import connected, upgrade
from tests.support.rawupstream import echo
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.bascule import RunningBascule
    from tests.support.rawupstream import Call, RawUpstream

    Proxy = Callable[..., RunningBascule]


SOON = "5s"
"""The shortest patience that may be configured."""


def _said(bascule: RunningBascule, event: str, child: str) -> list[dict[str, Any]]:
    return [line for line in bascule.events(event) if line["child"] == child]


def test_a_forwarder_that_hangs_is_replaced_and_only_its_sessions_end(proxy: Proxy) -> None:
    bascule = proxy(watchdog=SOON)
    with chatting(bascule.public_url, 6) as chatter:
        chatter.progress()
        figures = Figures(bascule)
        victim, survivor = forwarders(bascule)
        kill(victim, signal.SIGSTOP)
        eventually(lambda: len(chatter.ended) == 3, 20, "the victim's three sessions have ended")
        chatter.progress(chatter.living)
        assert len(chatter.living) == 3
        eventually(lambda: bascule.in_flight_if_up == 3, 10, "three sessions are counted")
        assert figures.moved()["bascule_sessions_lost_total"] == 3
        eventually(lambda: bascule.metric("bascule_forwarder_restarts_total") == 1, 10, "it is replaced")
        assert survivor in forwarders(bascule)
        chatter.progress(chatter.living)
    (line,) = bascule.events("a process hangs")
    assert line["pid"] == victim
    assert line["watchdog"] == 5.0
    (died,) = _said(bascule, "a process died", line["child"])
    assert died["status"] == "SIGKILL", "who is stopped hears nothing else"


def test_what_a_forwarder_carried_that_hangs_while_gateways_change_is_counted(proxy: Proxy) -> None:
    bascule = proxy(watchdog=SOON)
    with chatting(bascule.public_url, 6) as chatter:
        chatter.progress()
        figures = Figures(bascule)
        kill(forwarders(bascule)[0], signal.SIGSTOP)
        assert bascule.reload(websocketProxy={"maxSessionsPerApp": 9})
        eventually(lambda: len(chatter.ended) == 3, 20, "the victim's three sessions have ended")
        eventually(lambda: bascule.in_flight_if_up == 3, 10, "three sessions are counted")
        # By the former one, whose channel it was; and the one that serves did not wait for either.
        eventually(lambda: figures.moved().get("bascule_sessions_lost_total") == 3, 10, "they are counted")
        eventually(lambda: len(bascule.events("session ended")) == 3, 10, "each has its line")
        chatter.progress(chatter.living)
    eventually(lambda: len(gateways(bascule)) == 1, 10, "the former one has left")


def test_a_gateway_that_hangs_is_replaced_and_no_session_ends(proxy: Proxy) -> None:
    bascule = proxy(watchdog=SOON)
    with chatting(bascule.public_url, 4) as chatter:
        chatter.progress()
        kill(gateway(bascule), signal.SIGSTOP)
        eventually(lambda: _said(bascule, "a process is back", "gateway"), 20, "it is replaced")
        eventually(lambda: bascule.in_flight_if_up == 4, 10, "its successor knows the sessions")
        chatter.progress()
        assert not chatter.ended
    assert len(_said(bascule, "a process hangs", "gateway")) == 1


def test_a_gateway_that_is_started_again_does_not_wait_for_a_forwarder_that_stands_still(
    proxy: Proxy,
) -> None:
    bascule = proxy(websocketProxy={"maxSessionsPerApp": 7})
    with chatting(bascule.public_url, 6) as chatter:
        chatter.progress()
        kill(stopped := forwarders(bascule)[0], signal.SIGSTOP)
        time.sleep(6)  # what is looked for is that nothing happens, and nothing tells
        began = time.monotonic()
        kill(former := gateway(bascule))
        eventually(lambda: former not in gateways(bascule) and bascule.in_flight_if_up, 30, "another serves")
        assert time.monotonic() - began < 9, "it would wait for ten seconds for one that may still come"
        # Though it has been told of three only, the cap holds.
        assert bascule.in_flight_if_up == 6
        where = bascule.public_url.replace("http", "ws", 1)
        with connect(where, ping_interval=None):
            with pytest.raises(ConnectionClosed) as refused, connect(where) as eighth:
                eighth.recv(timeout=10)
            assert refused.value.rcvd is not None
            assert refused.value.rcvd.code == 1013
            kill(stopped, signal.SIGCONT)
            chatter.progress()
            assert bascule.in_flight_if_up == 7


@pytest.mark.parametrize("name", ["gateway", "forwarder-0"])
def test_a_process_that_can_says_where_it_stood_in_a_line_of_the_log(proxy: Proxy, name: str) -> None:
    bascule = proxy(watchdog=SOON)
    kill(victim := gateway(bascule) if name == "gateway" else forwarders(bascule)[0], signal.SIGSTOP)
    eventually(lambda: _said(bascule, "a process hangs", name), 20, "it is given up")
    kill(victim, signal.SIGCONT)
    eventually(lambda: _said(bascule, "a process died", name), 10, "it has died")
    assert _said(bascule, "a process died", name)[0]["status"] == "SIGABRT"
    (printed,) = _said(bascule, "a process printed", name)
    assert printed["pid"] == victim
    assert "Fatal Python error: Aborted" in printed["stack"]
    assert "in run" in printed["stack"]
    assert not [line for line in bascule.log_lines if "text" in line], "nothing is beside the log"


@pytest.mark.parametrize("name", ["gateway", "forwarder-0"])
def test_what_is_printed_below_our_code_is_a_line_of_the_log(proxy: Proxy, name: str) -> None:
    bascule = proxy()
    pid = gateway(bascule) if name == "gateway" else forwarders(bascule)[0]
    Path(f"/proc/{pid}/fd/2").write_text("libuv: io_uring_enter(getevents): Cannot allocate memory\n")
    (printed,) = eventually(lambda: _said(bascule, "a process printed", name), 10, "it is logged")
    assert printed["stack"] == "libuv: io_uring_enter(getevents): Cannot allocate memory"
    assert not [line for line in bascule.log_lines if "text" in line], "nothing is beside the log"


@pytest.mark.parametrize("before", [0, 5])
def test_a_reload_does_not_wait_for_a_forwarder_that_hangs(proxy: Proxy, before: float) -> None:
    bascule = proxy()
    with chatting(bascule.public_url, 4) as chatter:
        chatter.progress()
        victim, _ = forwarders(bascule)
        kill(victim, signal.SIGSTOP)
        try:
            time.sleep(before)  # what is looked for is that nothing happens, and nothing tells
            assert bascule.reload(websocketProxy={"maxSessionsPerApp": 7})
            begun = time.monotonic()
            eventually(lambda: bascule.cap_if_up == 7, 20, "another one serves")
            assert time.monotonic() - begun < 8  # and not the ten that a forwarder is waited for
        finally:
            kill(victim, signal.SIGCONT)
        eventually(lambda: bascule.in_flight_if_up == 4, 10, "its sessions are known when it goes on")
        chatter.progress()
        assert not chatter.ended


def test_what_comes_while_the_gateway_stands_still_is_heard_before_anybodys_time_is_up(
    proxy: Proxy, upstream: RawUpstream
) -> None:
    asked, may_answer = threading.Event(), threading.Event()

    def answer_late(call: Call) -> None:
        asked.set()
        assert may_answer.wait(20)
        echo(call)

    upstream.scripts[b"/late"] = answer_late
    bascule = proxy(limits={"upstreamHandshakeTimeout": "1s", "handshakeTimeout": "1s"})
    with connected(bascule.public_url) as waiting, connected(bascule.public_url) as speaking:
        request = upgrade()
        speaking.send(request[:9])
        waiting.send(upgrade(b"/late"))
        assert asked.wait(10)
        kill(gateway(bascule), signal.SIGSTOP)
        may_answer.set()
        speaking.send(request[9:])
        time.sleep(2.5)  # twice as long as anybody may take
        kill(gateway(bascule), signal.SIGCONT)
        assert waiting.head().status == 101
        assert speaking.head().status == 101
        assert bascule.in_flight_if_up == 2
