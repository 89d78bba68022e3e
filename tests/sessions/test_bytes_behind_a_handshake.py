"""What a browser sends behind its opening handshake before that is answered.

The numbers are the attack list's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.sessions.handshakes import SECRET, asks, narrow
from tests.support.figures import Figures
from tests.support.frames import KEY, TEXT, frame
from tests.support.rawclient import upgrade
from tests.support.rawupstream import RawUpstream, switch
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.bascule import RunningBascule
    from tests.support.rawclient import Clients
    from tests.support.rawupstream import Call

pytestmark = pytest.mark.usefixtures("calm")


@pytest.fixture(scope="module")
def bascule(upstream: RawUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBascule]:
    with narrow(upstream, tmp_path_factory.mktemp("bascule")) as running:
        yield running


def test_early_frames_are_held_until_the_upstream_has_agreed(
    bascule: RunningBascule, upstream: RawUpstream, clients: Clients
) -> None:  # 22
    early = frame(TEXT, b"early", key=KEY)
    held: list[bytes] = []

    def slowly(call: Call) -> None:
        call.socket.settimeout(0.3)
        try:
            call.receive()
        except TimeoutError:
            held.append(call.buffer)
        call.socket.settimeout(10)
        switch(call)
        found = call.frame()
        assert found is not None
        held.append(found.raw)
        call.until_over()

    upstream.scripts[b"/asks/22"] = slowly
    client = clients(bascule.public_url)
    client.send(upgrade(b"/asks/22") + early)
    assert client.head().status == 101
    eventually(lambda: len(held) == 2, 5, "the early frame arrives")
    assert held == [b"", early]


def test_early_frames_that_come_while_the_upstream_thinks_arrive_too(
    bascule: RunningBascule, upstream: RawUpstream, clients: Clients
) -> None:
    early = frame(TEXT, b"in time", key=KEY)
    asked: list[Call] = []
    go: list[int] = []

    def slowly(call: Call) -> None:
        asked.append(call)
        eventually(lambda: go, 10, "the test says go")
        switch(call)
        found = call.frame()
        assert found is not None
        call.send(frame(TEXT, b"got " + found.payload))
        call.until_over()

    upstream.scripts[b"/asks/22b"] = slowly
    client = clients(bascule.public_url)
    client.send(upgrade(b"/asks/22b"))
    eventually(lambda: asked, 5, "the upstream is asked")
    client.send(early)
    go.append(1)
    assert client.head().status == 101
    assert client.frame().payload == b"got in time"


def test_early_bytes_are_discarded_when_the_upstream_refuses(
    bascule: RunningBascule, upstream: RawUpstream, clients: Clients
) -> None:  # 23
    heard: list[bytes] = []

    def refuse(call: Call) -> None:
        call.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
        heard.append(call.until_over())

    upstream.scripts[b"/asks/23"] = refuse
    client = clients(bascule.public_url)
    client.send(upgrade(b"/asks/23") + frame(TEXT, SECRET, key=KEY) + b"GET /smuggled HTTP/1.1\r\n\r\n")
    answer = client.answer()
    assert (answer.status, answer.body) == (403, b"no")
    client.close()
    eventually(lambda: heard, 5, "the upstream's connection ends")
    assert heard == [b""]
    assert SECRET.decode() not in bascule.process.log.read_text()


def test_a_request_pipelined_behind_an_upgrade_is_no_request(
    bascule: RunningBascule, upstream: RawUpstream, clients: Clients
) -> None:  # 21
    behind = b"GET /smuggled HTTP/1.1\r\nHost: front\r\n\r\n"
    figures = Figures(bascule)
    before = len(upstream.calls)
    asks(upstream, b"/asks")
    client = clients(bascule.public_url)
    client.send(upgrade(b"/asks/21") + behind)
    assert client.head().status == 101
    # It can only be taken for frames, and they are not masked.
    assert client.frame().code == 1002
    client.rest()
    assert [call.target for call in upstream.calls[before:]] == [b"/asks/21"]
    assert not any("http_requests" in name for name in figures.moved())
