"""Descriptors run out in one process: nothing spins, nothing living is lost, and it recovers (88)."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import os
import resource
import signal
import time
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from bascule.handover.control import ASK_AGAIN
from tests.support.certificates import make_certificate
from tests.support.channels import have_channel
from tests.support.chatter import chatting
from tests.support.proctree import cpu_seconds, descriptors, forwarders, gateway, gateways, kill, links
from tests.support.rawclient import connect, connected, upgrade
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.bascule import RunningBascule
    from tests.support.rawclient import Clients, RawClient

    Proxy = Callable[..., RunningBascule]

REQUEST = upgrade()


@contextlib.contextmanager
def only(pid: int, more: int) -> Iterator[None]:
    """Let a process have only so many more descriptors, for the length of a block.

    The limit is on numbers, not on how many there are; so gaps between them count as well.
    """
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    taken = _settled(pid)
    free = (number for number in itertools.count() if number not in taken)
    limit = next(itertools.islice(free, more, None))
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (limit, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)


def _settled(pid: int) -> set[int]:
    """Return a process's descriptors once none comes or goes: connections of a test before linger."""
    last: set[int] = set()
    same = 0

    def look() -> bool:
        nonlocal last, same
        now = descriptors(pid)
        same = same + 1 if now == last else 0
        last = now
        return same >= 10

    eventually(look, 10, "the descriptors settle")
    return last


NOT_STARTED = "a process could not be started"


def _opened(bascule: RunningBascule) -> RawClient:
    client = connect(bascule.public_url)
    client.open(b"/")
    client.say(b"hello")
    assert client.frame().payload == b"hello"
    return client


def test_a_gateway_without_descriptors_waits_and_does_not_spin(proxy: Proxy) -> None:
    bascule = proxy(forwarders={"count": 1})
    pid = gateway(bascule)
    waiting: list[RawClient] = []
    with chatting(bascule.public_url, 2) as chatter, only(pid, 3):
        chatter.progress()
        for _ in range(20):
            waiting.append(connect(bascule.public_url))
            waiting[-1].send(REQUEST[:10])  # the kernel keeps a connection that says nothing to itself
        eventually(lambda: _said(bascule, "accepting pauses"), 5, "it is said")
        before, start = cpu_seconds(pid), time.monotonic()
        chatter.progress(messages=200)  # sessions do not notice
        used, took = cpu_seconds(pid) - before, time.monotonic() - start
        assert used < 0.1 + took / 2
    for client in waiting:  # they were in the backlog
        client.send(REQUEST[10:])
    assert [client.head().status for client in waiting] == [101] * 20
    for client in waiting:
        client.close()
    eventually(lambda: bascule.in_flight == 0, 10, "all sessions have ended")


def test_a_gateway_without_descriptors_tells_who_scrapes_it(proxy: Proxy) -> None:
    bascule = proxy(forwarders={"count": 1})
    pid = gateway(bascule)
    address = urlsplit(bascule.admin_url).netloc
    with contextlib.closing(http.client.HTTPConnection(address, timeout=10)) as scraper:

        def scrape(name: str) -> float:
            scraper.request("GET", f"/metrics?name={name}")
            answer = scraper.getresponse()
            assert answer.status == 200
            return float(answer.read().split()[-1])

        memory = scrape("bascule_memory_max_bytes")
        with only(pid, 0):
            assert scrape("bascule_open_descriptors") >= 0.8 * scrape("bascule_max_descriptors") > 0
            assert scrape("bascule_memory_max_bytes") == memory
            assert scrape("bascule_memory_used_bytes") > 1 << 20


def test_a_gateway_without_descriptors_closes_connections_that_ask_for_nothing(proxy: Proxy) -> None:
    bascule = proxy(forwarders={"count": 1})
    idle = [connect(bascule.public_url) for _ in range(20)]
    for client in idle:
        client.send(b"GET /.bascule/capacity HTTP/1.1\r\nHost: front\r\n\r\n")
        assert client.head().status == 200
    with only(gateway(bascule), 0):
        session = _opened(bascule)
        session.close()
    for client in idle:
        client.close()
    eventually(lambda: bascule.in_flight == 0, 10, "all sessions have ended")


def test_idle_connections_make_room_for_the_upstreams_of_those_who_come(
    proxy: Proxy, clients: Clients
) -> None:
    bascule = proxy(forwarders={"count": 1})
    for _ in range(200):
        idle = clients(bascule.public_url)
        idle.send(b"GET /.bascule/capacity HTTP/1.1\r\nHost: front\r\n\r\n")
        assert idle.head().status == 200
    with only(gateway(bascule), 0):
        coming = [clients(bascule.public_url) for _ in range(60)]
        for client in coming:
            client.send(REQUEST)
        for client in coming:
            assert client.head().status == 101
            client.say(b"hello")
            assert client.frame().payload == b"hello"


def test_a_tls_client_that_says_nothing_does_not_keep_the_descriptor_of_a_closed_connection(
    proxy: Proxy, clients: Clients, tmp_path: Path
) -> None:
    certificate = make_certificate(tmp_path)
    bascule = proxy(forwarders={"count": 1}, tls=certificate.block(), limits={"maxIdleConnections": 1})
    before = len(_settled(gateway(bascule)))
    for client in [clients(bascule.public_url, certificate.client()) for _ in range(20)]:
        client.send(b"GET /.bascule/capacity HTTP/1.1\r\nHost: front\r\n\r\n")
        assert client.head().status == 200
    eventually(lambda: len(descriptors(gateway(bascule))) == before + 1, 10, "all but one are closed")


def test_a_tls_client_that_was_refused_and_says_nothing_keeps_no_descriptor(
    proxy: Proxy, clients: Clients, tmp_path: Path
) -> None:
    certificate = make_certificate(tmp_path)
    bascule = proxy(forwarders={"count": 1}, tls=certificate.block())
    before = len(_settled(gateway(bascule)))
    for client in [clients(bascule.public_url, certificate.client()) for _ in range(20)]:
        client.send(upgrade(b"/", without=(b"sec-websocket-key",)))
        assert client.head().status == 400
    eventually(lambda: len(descriptors(gateway(bascule))) == before, 15, "all are closed")


def test_a_forwarder_without_descriptors_loses_only_what_it_could_not_take(
    proxy: Proxy, clients: Clients
) -> None:
    bascule = proxy(forwarders={"count": 1})
    (pid,) = forwarders(bascule)
    with chatting(bascule.public_url, 2) as chatter:
        chatter.progress()
        with only(pid, 1):
            for _ in range(3):
                client = clients(bascule.public_url)
                client.send(upgrade())
                assert not client.switched()  # who cannot have a session is not told of one
            chatter.progress()
        eventually(lambda: bascule.in_flight == 2, 5, "the leases are given back")
        assert forwarders(bascule) == [pid]
        last = _opened(bascule)
        chatter.progress()
        last.close()


def test_a_process_that_cannot_be_started_again_is_tried_later_and_ends_nobody(proxy: Proxy) -> None:
    bascule = proxy()
    supervisor = bascule.process.pid
    with chatting(bascule.public_url, 4) as chatter:
        with only(supervisor, 0):
            kill(gateway(bascule))
            eventually(lambda: _said(bascule, NOT_STARTED), 10, "it says so")
            chatter.progress()
        eventually(lambda: bascule.in_flight_if_up == 4, 20, "the gateway is back and counts them")
        chatter.progress()


def test_an_upstream_connection_that_cannot_be_made_is_a_refusal(proxy: Proxy) -> None:
    bascule = proxy(forwarders={"count": 1})
    pid = gateway(bascule)
    _opened(bascule).close()
    eventually(lambda: bascule.in_flight == 0, 5, "the session has ended")
    with only(pid, 1), connected(bascule.public_url) as client:  # one is enough for the browser's
        client.send(REQUEST)
        assert client.head().status == 101
        said = client.refusal()
        assert (said.code, said.reason) == (1013, b"No forwarder can take a session")
    eventually(lambda: bascule.in_flight == 0, 5, "the lease is given back")
    (line,) = bascule.all_events("session refused", 1)
    assert (line["reason"], line["detail"]) == ("no_room", "connect failed: EMFILE")
    assert bascule.metric("bascule_refusals_total", reason="no_room") == 1
    assert bascule.metric("ws_upstream_connect_failures_total") == 0
    _opened(bascule).close()


def test_a_plain_request_whose_upstream_connection_cannot_be_made_is_told_to_come_again(
    proxy: Proxy, clients: Clients
) -> None:
    bascule = proxy(forwarders={"count": 1})
    client = clients(bascule.public_url)
    client.send(b"GET /.bascule/capacity HTTP/1.1\r\nHost: front\r\n\r\n")
    assert client.answer().status == 200
    with only(gateway(bascule), 0):
        client.send(b"GET /page HTTP/1.1\r\nHost: front\r\n\r\n")
        said = client.head()
        assert (said.status, said.values(b"Retry-After")) == (503, [b"1"])
    (line,) = bascule.all_events("request failed", 1)
    assert (line["reason"], line["status"]) == ("no_room", 503)
    assert line["detail"] == "connect failed: EMFILE"
    assert bascule.metric("bascule_http_requests_refused_total") == 1
    assert bascule.metric("bascule_http_upstream_failures_total") == 0


def test_an_upgrade_on_a_kept_connection_is_answered_without_a_descriptor(proxy: Proxy) -> None:
    bascule = proxy(forwarders={"count": 1})
    with connected(bascule.public_url) as client, connected(bascule.public_url) as other:
        for kept in (client, other):
            kept.send(b"GET /.bascule/capacity HTTP/1.1\r\nHost: front\r\n\r\n")
            assert kept.answer().status == 200
        with only(gateway(bascule), 0):
            client.send(REQUEST)
            assert client.head().status == 101
            assert client.refusal().code == 1013
            other.send(REQUEST[:-2] + b"no field\r\n\r\n")
            assert other.head().status == 400
        bascule.all_events("session refused", 2)
    eventually(lambda: bascule.in_flight == 0, 5, "the lease is given back")
    _opened(bascule).close()


def test_a_tls_leg_that_cannot_be_handed_over_is_a_refusal(proxy: Proxy, tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path)
    bascule = proxy(forwarders={"count": 1}, tls=certificate.block())
    context = certificate.client()
    with connected(bascule.public_url, context) as client:
        client.open(b"/")
    eventually(lambda: bascule.in_flight == 0, 5, "the session has ended")
    # Both connections are made; the pair of sockets behind the TLS one takes two more.
    with only(gateway(bascule), 3), connected(bascule.public_url, context) as client:
        client.send(REQUEST)
        assert client.head().status == 101
        assert client.refusal().code == 1013
    eventually(lambda: bascule.in_flight == 0, 5, "the lease is given back")
    eventually(lambda: _said(bascule, "session refused"), 5, "it is said")
    assert [line["reason"] for line in bascule.events("session refused")] == ["no_room"]
    with connected(bascule.public_url, context) as client:
        client.open(b"/")


def test_a_forwarder_that_starts_while_the_gateway_has_no_descriptors_is_used_once_it_has(
    proxy: Proxy,
) -> None:
    bascule = proxy(forwarders={"count": 1})
    pid = gateway(bascule)
    (victim,) = forwarders(bascule)
    waiting: list[RawClient] = []
    with only(pid, 0):
        for _ in range(4):
            waiting.append(connect(bascule.public_url))
            waiting[-1].send(REQUEST[:10])
        eventually(lambda: _said(bascule, "accepting pauses"), 5, "it is said")
        before = set(links(pid).values())
        os.kill(bascule.process.pid, signal.SIGSTOP)  # the supervisor, or the next channel may come first
        kill(victim)
        eventually(
            lambda: set(links(pid).values()) - before, 10, "one who waits takes what the channel left free"
        )
        os.kill(bascule.process.pid, signal.SIGCONT)
        eventually(lambda: _said(bascule, "no descriptors left for a forwarder's channel"), 10, "it is said")
    for client in waiting:
        client.close()
    last = eventually(lambda: _works(bascule), 10, "sessions are taken again")
    last.close()


def test_a_supervisor_without_descriptors_makes_the_channel_once_it_has(proxy: Proxy) -> None:
    bascule = proxy(forwarders={"count": 1})
    supervisor = bascule.process.pid
    before = resource.prlimit(supervisor, resource.RLIMIT_NOFILE)
    starting = eventually(lambda: _stopped_as_it_starts(bascule), 60, "a forwarder is not ready yet")
    resource.prlimit(supervisor, resource.RLIMIT_NOFILE, (3, before[1]))
    os.kill(starting, signal.SIGCONT)
    eventually(lambda: _said(bascule, "no channel"), 10, "it is said")
    resource.prlimit(supervisor, resource.RLIMIT_NOFILE, before)
    last = eventually(lambda: _works(bascule), 10, "sessions are taken again")
    last.close()


def _stopped_as_it_starts(bascule: RunningBascule) -> int | None:
    """Kill the forwarder and stop its successor; ``None`` if that one had its channel before."""
    ready = len(bascule.events("a process is back"))
    (victim,) = forwarders(bascule)
    kill(victim)
    successor = eventually(
        lambda: next((pid for pid in forwarders(bascule) if pid != victim), None), 20, "its successor starts"
    )
    os.kill(successor, signal.SIGSTOP)
    _settled(bascule.process.pid)  # the supervisor has all that it needs to watch it
    if len(bascule.events("a process is back")) == ready:
        return successor
    os.kill(successor, signal.SIGCONT)
    return None


def test_a_reload_under_a_limit_that_was_lowered_for_good_ends_nothing(proxy: Proxy) -> None:
    bascule = proxy(forwarders={"count": 1})
    with chatting(bascule.public_url, 2) as chatter:
        chatter.progress()
        resource.prlimit(bascule.process.pid, resource.RLIMIT_NOFILE, (60, 60))
        assert bascule.reload(readiness={"maxShare": 0.9})
        eventually(lambda: _said(bascule, "a forwarder that starts will take no session"), 5, "it is said")
        chatter.progress()
        eventually(lambda: bascule.in_flight_if_up == 2, 5, "the sessions are taken over")


def test_a_gateway_that_starts_while_a_forwarder_has_no_descriptors_hears_of_its_sessions_once_it_has(
    proxy: Proxy,
) -> None:
    bascule = proxy(forwarders={"count": 1})
    (pid,) = forwarders(bascule)
    limit = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    with chatting(bascule.public_url, 2) as chatter:
        chatter.progress()
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, limit[1]))
        kill(gateway(bascule))
        event = "no descriptors left for the gateway's channel"
        eventually(lambda: len(_when(bascule, event)) >= 3, 20, "it is said again")
        gaps = [later - sooner for sooner, later in itertools.pairwise(_when(bascule, event))]
        assert min(gaps) > timedelta(seconds=0.9), "the log fills while descriptors are short"
        chatter.progress()
        resource.prlimit(pid, resource.RLIMIT_NOFILE, limit)
        eventually(lambda: bascule.in_flight_if_up == 2, 20, "the gateway is back and counts them")
        assert forwarders(bascule) == [pid]
        chatter.progress()
    assert bascule.metric("bascule_sessions_lost_total") == 0


def test_a_channel_that_had_no_room_at_either_end_is_made_again_once_and_nobodys_session_is_lost(
    proxy: Proxy,
) -> None:
    bascule = proxy(forwarders={"count": 1})
    (pid,) = forwarders(bascule)
    supervisor = bascule.process.pid
    limit = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    with chatting(bascule.public_url, 2) as chatter:
        chatter.progress()
        successor = _replace_and_hold(bascule, pid)
        with only(successor, 0):
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, limit[1]))
            os.kill(supervisor, signal.SIGCONT)
            eventually(lambda: _said(bascule, "no descriptors left for a forwarder's channel"), 10, "it is")
            free = next(number for number in itertools.count() if number not in descriptors(pid))
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (free + 1, limit[1]))
        eventually(lambda: bascule.in_flight_if_up == 2, 20, "the gateway is back and counts them")
        time.sleep(2 * ASK_AGAIN)
        assert not _said(bascule, "forwarder lost")
        chatter.progress()
        resource.prlimit(pid, resource.RLIMIT_NOFILE, limit)


def _replace_and_hold(bascule: RunningBascule, forwarder: int) -> int:
    """Kill the gateway, and stop the supervisor before it gives the next one, which is returned, a channel.

    A gateway is prepared within a tenth of a second. Where we were too slow, we try again.
    """
    for _ in range(5):
        kill(gateway(bascule))
        (successor,) = eventually(partial(gateways, bascule), 10, "another one starts")
        os.kill(bascule.process.pid, signal.SIGSTOP)
        eventually(partial(_waits, successor), 20, "it is prepared")
        if not have_channel(successor, forwarder):
            return successor
        os.kill(bascule.process.pid, signal.SIGCONT)
        eventually(lambda: bascule.in_flight_if_up == 2, 20, "it serves")
    raise TimeoutError("the supervisor is always faster")


def _waits(pid: int) -> bool:
    """Tell whether a process that has begun does nothing for a while."""
    used = cpu_seconds(pid)
    time.sleep(0.5)
    return used > 0 and cpu_seconds(pid) == used


def _when(bascule: RunningBascule, event: str) -> list[datetime]:
    return [datetime.fromisoformat(line["time"]) for line in bascule.events(event)]


def _said(bascule: RunningBascule, event: str) -> bool:
    return bool(bascule.events(event))


def _works(bascule: RunningBascule) -> RawClient | None:
    client = connect(bascule.public_url)
    client.open(b"/")
    client.say(b"hello")
    if client.frame().payload == b"hello":
        return client
    client.close()
    return None
