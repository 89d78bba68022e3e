"""Several reloads at once, and gateways that die in the middle of one."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from typing import TYPE_CHECKING

from tests.sessions.reload.support import begins_to_go_over, route, serves_with
from tests.support.chatter import chatting
from tests.support.proctree import forwarders, gateway, gateways, kill
from tests.support.rawclient import connected
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from pathlib import Path

    from tests.sessions.reload.support import Proxy
    from tests.support.rawupstream import RawUpstream


def test_several_at_once_end_with_the_last(proxy: Proxy) -> None:
    bascule = proxy()
    for sessions in (11, 12, 13):
        bascule.change(websocketProxy={"maxSessionsPerApp": sessions})
        bascule.hang_up()
    serves_with(bascule, 13)


def test_a_storm_of_signals_is_one_and_hides_no_other(proxy: Proxy, upstream: RawUpstream) -> None:
    bascule = proxy()
    # It takes a while to read, and cannot be used: nothing holds the next one up.
    many = [route(upstream, f"/{number}", f"r{number}") for number in range(500)]
    bascule.change(routes=many, limits={"handshakeTimeout": "soon"})
    for _ in range(1000):
        bascule.hang_up()
        time.sleep(0.0005)
    os.kill(bascule.process.pid, signal.SIGTERM)
    assert bascule.process.process.wait(20) == 0, "a thousand loads take minutes"


def test_a_gateway_that_dies_meanwhile_is_succeeded_all_the_same(proxy: Proxy) -> None:
    bascule = proxy()
    with chatting(bascule.public_url, 4) as chatter:
        before = gateway(bascule)
        begins_to_go_over(bascule, 9)
        kill(before)
        serves_with(bascule, 9)
        eventually(lambda: bascule.in_flight_if_up == 4, 10, "the sessions are known")
        chatter.progress()
        assert not chatter.ended


def test_what_a_gateway_had_under_way_ends_with_it(proxy: Proxy, silent: bytes) -> None:
    bascule = proxy()
    with connected(bascule.public_url) as client:
        client.send(b"GET " + silent + b" HTTP/1.1\r\nHost: front\r\n\r\n")
        eventually(lambda: bascule.metric("bascule_http_requests_in_flight") == 1, 10, "it is under way")
        before = gateway(bascule)
        begins_to_go_over(bascule, 9)
        kill(before)
        serves_with(bascule, 9)
        assert bascule.metric("bascule_http_requests_in_flight") == 0


def test_a_successor_that_dies_leaves_all_as_it_was(proxy: Proxy) -> None:
    bascule = proxy()
    for failed in range(1, 6):
        before = gateway(bascule)
        kill(begins_to_go_over(bascule, 9))
        bascule.all_events("configuration not reloaded", failed)
        with contextlib.suppress(ProcessLookupError):
            kill(before, signal.SIGCONT)
        eventually(lambda: bascule.cap_if_up == 500, 20, "it is served as before")
        if gateways(bascule) == [before]:
            break  # otherwise the successor had all it needs, and the serving one was not to go on
    else:
        raise TimeoutError("a successor is always faster than we are")
    assert bascule.reload()
    serves_with(bascule, 9)


def test_a_gateway_that_waits_to_be_started_again_is_started_once(proxy: Proxy, tmp_path: Path) -> None:
    bascule = proxy()
    nonsense = tmp_path / "nonsense.pem"
    nonsense.write_text("no certificate")

    def dies(times: int) -> None:
        kill(gateway(bascule))
        eventually(lambda: len(bascule.events("a process died")) == times, 10, "it has died")

    def is_back(times: int) -> None:
        eventually(lambda: len(bascule.events("a process is back")) == times, 10, "it is back")

    for times in (1, 2):
        dies(times)
        is_back(times)
    dies(3)
    assert bascule.events("a process died")[-1]["restart_in"] == 1.0
    assert not bascule.reload(tls={"certificate": str(nonsense), "key": str(nonsense)})
    is_back(3)
    kill(forwarders(bascule)[0])
    is_back(4)  # by now the second of the wait is over, too
    assert len(gateways(bascule)) == 1
