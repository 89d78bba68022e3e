"""Upgrades on connections that had another life before."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.bascule import RunningBascule, run_bascule
from tests.support.rawclient import upgrade
from tests.support.rawupstream import RawUpstream, answer_ok

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.rawclient import Clients
    from tests.support.rawupstream import Call

pytestmark = pytest.mark.usefixtures("calm")


@pytest.fixture(scope="module")
def bascule(upstream: RawUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBascule]:
    config = {
        "routes": [{"name": "all", "path": "/", "upstream": upstream.url}],
        "forwarders": {"count": 1},
        "limits": {"closingHandshakeTimeout": "300ms"},
    }
    with run_bascule(tmp_path_factory.mktemp("bascule"), config) as running:
        yield running


def test_an_upgrade_on_a_kept_alive_connection_works(
    bascule: RunningBascule, upstream: RawUpstream, clients: Clients
) -> None:
    upstream.scripts[b"/plain"] = answer_ok
    client = clients(bascule.public_url)
    for _ in range(3):
        client.send(b"GET /plain HTTP/1.1\r\nHost: front\r\n\r\n")
        assert client.answer().body == b"ok"
    client.open(b"/x")
    client.say(b"hello")
    assert client.frame().payload == b"hello"


def test_an_upgrade_pipelined_behind_an_unanswered_request_opens_nothing(
    bascule: RunningBascule, upstream: RawUpstream, clients: Clients
) -> None:
    upstream.scripts[b"/plain"] = answer_ok
    before = len(upstream.calls)
    client = clients(bascule.public_url)
    client.send(b"GET /plain HTTP/1.1\r\nHost: front\r\n\r\n" + upgrade(b"/x"))
    assert client.answer().body == b"ok"
    rest = client.goodbye()
    assert b"101" not in rest
    assert [call.target for call in upstream.calls[before:]] == [b"/plain"]


def test_a_forged_upgrade_in_a_body_opens_nothing(
    bascule: RunningBascule, upstream: RawUpstream, clients: Clients
) -> None:
    def take(call: Call) -> None:
        while len(call.buffer) < int(call.value(b"Content-Length") or b"0"):
            call.receive()
        answer_ok(call)

    upstream.scripts[b"/take"] = take
    before = len(upstream.calls)
    body = upgrade(b"/x")
    client = clients(bascule.public_url)
    client.send(b"POST /take HTTP/1.1\r\nHost: front\r\nContent-Length: %d\r\n\r\n" % len(body))
    client.send(body)
    assert client.answer().body == b"ok"
    assert [call.target for call in upstream.calls[before:]] == [b"/take"]
