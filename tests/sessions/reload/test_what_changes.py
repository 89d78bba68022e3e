"""What a reload takes over, what it refuses, and what it names that only a start can change."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from tests.sessions.reload.support import get, route, serves_with, works
from tests.support.chatter import chatting
from tests.support.figures import Figures
from tests.support.frames import CLOSE, PING, PONG
from tests.support.processes import answers
from tests.support.proctree import forwarders, gateway, gateways, kill
from tests.support.rawclient import connected
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from pathlib import Path

    from tests.sessions.reload.support import Proxy
    from tests.support.certificates import Certificate
    from tests.support.rawupstream import RawUpstream


FULL = b"WebSocket session cap reached (maxSessionsPerApp)"


def test_routes_and_the_cap_change_and_no_session_ends(proxy: Proxy, upstream: RawUpstream) -> None:
    bascule = proxy()
    figures = Figures(bascule)
    before, relays = gateway(bascule), forwarders(bascule)
    with chatting(bascule.public_url, 4) as chatter:
        chatter.progress()
        assert bascule.reload(
            routes=[route(upstream, "/new", "new")], websocketProxy={"maxSessionsPerApp": 5}
        )
        eventually(lambda: gateways(bascule) != [before] and len(gateways(bascule)) == 1, 10, "it has left")
        eventually(lambda: bascule.in_flight_if_up == 4, 10, "the sessions are known")
        chatter.progress()
        with connected(bascule.public_url) as client:
            assert get(client, b"/old") == 404
        with connected(bascule.public_url) as fifth, connected(bascule.public_url) as sixth:
            fifth.open(b"/new")
            assert works(fifth)
            sixth.open(b"/new")
            refused = sixth.refusal()
            assert (refused.code, refused.reason) == (1013, FULL)
        chatter.progress()
        assert not chatter.ended
    eventually(lambda: bascule.in_flight_if_up == 0, 10, "every lease comes back")
    assert forwarders(bascule) == relays
    moved = figures.moved()
    assert moved["ws_connection_duration_seconds_count"] == 5
    assert moved["ws_connection_rejections_total"] == 1
    assert "bascule_sessions_lost_total" not in moved
    assert "bascule_gateway_restarts_total" not in moved
    eventually(lambda: len(bascule.events("session ended")) == 5, 10, "one line a session")
    assert {line["route"] for line in bascule.events("session ended")} == {"all", "new"}


def test_what_cannot_be_used_changes_nothing_and_is_told(proxy: Proxy, upstream: RawUpstream) -> None:
    bascule = proxy()
    before = gateway(bascule)
    with chatting(bascule.public_url, 2) as chatter:
        assert not bascule.reload(limits={"handshakeTimeout": "soon"})
        (line,) = bascule.events("configuration not reloaded")
        assert "bascule.yaml:" in line["problem"]
        assert "limits.handshakeTimeout" in line["problem"]
        eventually(
            lambda: bascule.metric("bascule_config_last_reload_successful") == 0, 5, "the gauge says so"
        )
        assert gateways(bascule) == [before]
        chatter.progress()
        kill(before)
        eventually(lambda: bascule.cap_if_up is not None, 20, "another one serves")
        assert bascule.metric("bascule_config_last_reload_successful") == 0, "it is true still"
        assert bascule.reload(limits=None)
        eventually(
            lambda: bascule.metric_if_up("bascule_config_last_reload_successful") == 1,
            20,
            "the gauge says so",
        )
        chatter.progress()


def test_half_of_a_character_changes_nothing(proxy: Proxy) -> None:
    bascule = proxy()
    with chatting(bascule.public_url, 1) as chatter:
        assert not bascule.reload(adminTokenFile="\ud800")
        chatter.progress()


def test_what_only_a_start_changes_is_named(proxy: Proxy) -> None:
    bascule = proxy()
    pool = {"grizzlyWorkerPoolMaxSize": 5}
    assert not bascule.reload(forwarders={"count": 3}, listen="127.0.0.1:1", websocketProxy=pool)
    eventually(lambda: len(bascule.events("configuration not reloaded")) >= 3, 10, "a line for each")
    problems = [line["problem"] for line in bascule.events("configuration not reloaded")]
    assert [problem.partition(": found")[0].partition(": ")[2] for problem in problems] == [
        "listen",
        "websocketProxy.grizzlyWorkerPoolMaxSize",
        "forwarders.count",
    ]
    assert "found 3; allowed: 2" in problems[2]


def test_a_certificate_that_is_none_is_named_and_no_gateway_started_with_it(
    proxy: Proxy, tmp_path: Path
) -> None:
    bascule = proxy()
    nonsense = tmp_path / "nonsense.pem"
    nonsense.write_text("no certificate")
    assert not bascule.reload(tls={"certificate": str(nonsense), "key": str(nonsense)})
    (line,) = bascule.events("configuration not reloaded")
    problem = line["problem"].removeprefix(f"{bascule.file}:1: ")
    assert problem.startswith(f"tls.certificate: {nonsense} and {nonsense} cannot be used: ")
    assert not bascule.events("configuration cannot be used")


def test_a_gateway_that_cannot_use_it_never_takes_over(proxy: Proxy, tmp_path: Path) -> None:
    bascule = proxy()
    before = gateway(bascule)
    blank = tmp_path / "token"
    blank.write_text(" \n")
    assert not bascule.reload(adminTokenFile=str(blank))
    (line,) = bascule.events("configuration cannot be used")
    assert line["problem"].startswith(f"{bascule.file}:1: adminTokenFile: ")
    assert "no token" in line["problem"]
    eventually(lambda: gateways(bascule) == [before], 10, "the other one has left")
    with connected(bascule.public_url) as client:
        client.open()


def test_a_renewed_certificate_is_taken_over_and_an_edited_configuration_is_not(
    proxy: Proxy, certificates: tuple[Certificate, Certificate]
) -> None:
    first, second = certificates
    bascule = proxy(tls=first.block())
    before = first.client()
    with connected(bascule.public_url, before) as old:
        old.open()
        bascule.change(websocketProxy={"maxSessionsPerApp": 7})
        shutil.copy(second.certificate, first.certificate)
        shutil.copy(second.key, first.key)
        while not bascule.events("configuration reloaded"):
            assert works(old)
        with connected(bascule.public_url, second.client()) as new:
            new.open()
        serves_with(bascule, 500)
        assert works(old)


def test_heartbeats_and_the_idle_time_are_those_of_open_sessions_too(proxy: Proxy) -> None:
    bascule = proxy()
    with connected(bascule.public_url) as client:
        client.open()
        bascule.goes_over(7, pool={"heartbeatIntervalMs": 100})
        assert client.frame().opcode == PONG
        bascule.goes_over(8, pool={"heartbeatIntervalMs": 100}, limits={"pongTimeout": "1h"})
        while client.frame().opcode == PONG:
            pass
        bascule.goes_over(9, pool={"heartbeatIntervalMs": 0, "sessionIdleTimeoutMs": 100}, limits={})
        while (said := client.frame()).opcode == PING:
            pass
        assert (said.opcode, said.code) == (CLOSE, 1012)


def test_a_forwarder_that_starts_after_a_reload_goes_by_it(proxy: Proxy) -> None:
    bascule = proxy(forwarders={"count": 1})
    bascule.goes_over(7, pool={"heartbeatIntervalMs": 100})
    kill(forwarders(bascule)[0])
    eventually(
        lambda: bascule.metric_if_up("bascule_forwarder_restarts_total") == 1, 20, "another one is there"
    )
    eventually(lambda: answers(f"{bascule.admin_url}/readyz"), 20, "it takes sessions")
    with connected(bascule.public_url) as client:
        client.open()
        assert client.frame().opcode == PONG


def test_a_changed_configuration_is_taken_over_by_itself_where_it_says_so(proxy: Proxy) -> None:
    bascule = proxy(reloadOnChange=True)
    with connected(bascule.public_url) as old:
        old.open()
        bascule.change(websocketProxy={"maxSessionsPerApp": 7})
        while not bascule.events("configuration reloaded"):
            assert works(old)
        serves_with(bascule, 7)
        assert works(old)
