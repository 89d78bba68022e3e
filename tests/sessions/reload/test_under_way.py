"""Downloads, sessions, handshakes and requests that are under way while another gateway takes over."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bascule.gateway.connections.farewell import FAREWELL_SECONDS
from tests.sessions.reload.support import get, half_a_download, works
from tests.support import slowreader
from tests.support.proctree import gateway, gateways
from tests.support.rawclient import connected, upgrade
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from tests.sessions.reload.support import Proxy
    from tests.support.bascule import RunningBascule
    from tests.support.certificates import Certificate
    from tests.support.rawupstream import RawUpstream


RESTARTING = b"The proxy is restarting"


def test_a_download_goes_on_and_its_gateway_leaves_when_it_has_ended(
    proxy: Proxy, upstream: RawUpstream
) -> None:
    bascule = proxy()
    before = gateway(bascule)
    with half_a_download(bascule, upstream) as finish:
        bascule.goes_over(7)
        assert bascule.metric("bascule_http_requests_in_flight") == 1
        assert before in gateways(bascule)
        # The kernel's list of children may leave one out for a moment: proc_pid_task(5).
        with_both = max(bascule.metric("bascule_memory_used_bytes") for _ in range(3))
        finish()
    eventually(lambda: before not in gateways(bascule), 10, "the former one leaves")
    eventually(lambda: bascule.metric("bascule_http_requests_in_flight") == 0, 5, "nothing is under way")
    (left,) = eventually(lambda: bascule.events("a former gateway has left"), 5, "it is told")
    assert left["status"] == "0"
    # What it still shared with the supervisor is there as before.
    assert with_both - bascule.metric("bascule_memory_used_bytes") > 8 << 20, "its memory is in the metric"


def test_who_reads_slowly_has_the_whole_of_a_download(proxy: Proxy, upstream: RawUpstream) -> None:
    bascule = proxy(sockets=slowreader.SOCKETS)
    with slowreader.reading_slowly(bascule, upstream) as client:
        bascule.goes_over(7)
        time.sleep(FAREWELL_SECONDS + 0.5)  # what is tested is that it is not cut meanwhile
        while len(client.buffer) < slowreader.SIZE and client.receive():
            assert bascule.cap_if_up == 7, "which takes a moment"
        assert len(client.buffer) == slowreader.SIZE
    eventually(lambda: len(gateways(bascule)) == 1, 10, "the former one has left")


def test_sessions_over_tls_go_on_and_new_ones_get_the_new_certificate(
    proxy: Proxy, certificates: tuple[Certificate, Certificate]
) -> None:
    first, second = certificates
    bascule = proxy(tls=first.block())
    before = gateway(bascule)
    with connected(bascule.public_url, first.client()) as old:
        old.open()
        assert bascule.reload(tls=second.block())
        with connected(bascule.public_url, second.client()) as new:
            new.open()
            assert works(old)
            assert works(new)
        assert before in gateways(bascule)
        eventually(lambda: bascule.in_flight_if_up == 1, 10, "the old session is known")
        assert works(old)
    eventually(lambda: before not in gateways(bascule), 10, "the former one leaves with its last session")


def test_who_waits_for_an_upstream_is_told_to_come_again(
    proxy: Proxy, upstream: RawUpstream, silent: bytes
) -> None:
    bascule = proxy()
    with connected(bascule.public_url) as client:
        client.send(upgrade(silent))
        eventually(lambda: upstream.calls_for(silent), 10, "the upstream is asked")
        assert bascule.reload(websocketProxy={"maxSessionsPerApp": 7})
        assert client.head().status == 101
        refused = client.refusal()
        assert (refused.code, refused.reason) == (1012, RESTARTING)
    eventually(lambda: bascule.in_flight_if_up == 0, 10, "it holds no lease")


def test_a_kept_connection_is_closed_between_two_requests(proxy: Proxy) -> None:
    bascule = proxy()
    with connected(bascule.public_url) as client:
        assert get(client, b"/.bascule/capacity") == 200
        assert bascule.reload(websocketProxy={"maxSessionsPerApp": 7})
        assert client.rest() == b""


def test_a_head_that_had_begun_is_answered_by_the_gateway_that_has_its_beginning(proxy: Proxy) -> None:
    bascule = proxy(limits={"handshakeTimeout": "60s"})
    with connected(bascule.public_url) as plain, connected(bascule.public_url) as client:
        plain.send(b"GET /.bascule/capacity HTTP/1.1\r\n")
        client.send(upgrade()[:20])
        eventually(lambda: _accepted(bascule) >= 2, 10, "both are accepted")
        bascule.goes_over(7)
        plain.send(b"Host: front\r\n\r\n")
        answer = plain.answer()
        assert (answer.status, answer.value(b"Connection")) == (200, b"close")
        client.send(upgrade()[20:])
        assert client.head().status == 101
        assert client.refusal().code == 1012
    eventually(lambda: len(gateways(bascule)) == 1, 10, "the former one has left")


def test_a_request_to_the_admin_listener_that_had_begun_is_answered(proxy: Proxy) -> None:
    bascule = proxy()
    with connected(bascule.admin_url) as client:
        ask = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"
        client.send(ask)
        assert client.answer().status == 200
        client.send(ask[:20])
        bascule.goes_over(7)
        client.send(ask[20:])
        assert client.answer().status == 200
    eventually(lambda: len(gateways(bascule)) == 1, 10, "the former one has left")


def _accepted(bascule: RunningBascule) -> int:
    """Count the connections of the gateway to its public listener."""
    port = int(bascule.public_url.rpartition(":")[2])
    table = Path(f"/proc/{gateway(bascule)}/net/tcp").read_text().splitlines()[1:]
    inodes = {row.split()[9] for row in table if int(row.split()[1].rpartition(":")[2], 16) == port}
    links = []
    for entry in Path(f"/proc/{gateway(bascule)}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # it measures now and then, and opens files
            links.append(os.readlink(entry))
    return sum(link.removeprefix("socket:[").rstrip("]") in inodes for link in links) - 1
