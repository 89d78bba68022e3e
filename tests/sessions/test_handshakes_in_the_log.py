"""What the log says of opening handshakes, and what it never says. The numbers are the attack list's."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.sessions.handshakes import SECRET, narrow, refused_handshakes
from tests.support.figures import Figures
from tests.support.rawclient import connect, upgrade
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


def test_no_secret_reaches_a_log(
    bascule: RunningBascule, upstream: RawUpstream, clients: Clients
) -> None:  # 29, 56, 89
    def wait(call: Call) -> None:
        switch(call, b"Sec-WebSocket-Protocol: v1.kernel.websocket.jupyter.org")
        call.until_over()

    upstream.scripts[b"/asks/29"] = wait
    secrets = (
        b"Cookie: session=" + SECRET,
        b"Authorization: Bearer " + SECRET,
        b"Sec-WebSocket-Protocol: v1.kernel.websocket.jupyter.org, v1.token.websocket.jupyter.org." + SECRET,
        b"User-Agent: " + SECRET,
        b"Referer: http://front/?token=" + SECRET,
        b"X-Custom: " + SECRET,
    )
    target = b"/asks/29/" + SECRET + b"?token=" + SECRET
    before, ended = len(refused_handshakes(bascule)), len(bascule.events("session ended"))
    opened = clients(bascule.public_url)
    answer = opened.open(target, *secrets)
    assert answer.value(b"Sec-WebSocket-Protocol") == b"v1.kernel.websocket.jupyter.org"
    opened.close()
    refused = clients(bascule.public_url)
    refused.send(upgrade(target, *secrets, b"Origin: http://" + SECRET))
    assert refused.head().status == 403
    malformed = clients(bascule.public_url)
    malformed.send(upgrade(target, *secrets, b"X : " + SECRET))
    assert malformed.head().status == 400
    assert len(refused_handshakes(bascule)) == before + 2
    eventually(lambda: len(bascule.events("session ended")) > ended, 10, "the session has its line")
    said = bascule.process.log.read_text()
    assert SECRET.decode() not in said


def test_log_lines_stay_one_line_each(bascule: RunningBascule, clients: Clients) -> None:  # 89
    client = clients(bascule.public_url)
    client.send(upgrade("/\u2028\x1b[31m".encode(), "User-Agent: a\x0bb\u2028".encode()))
    assert client.head().status == 400
    for line in bascule.process.log.read_text().splitlines():
        json.loads(line)


def test_a_connection_that_says_nothing_and_leaves_is_no_event(bascule: RunningBascule) -> None:
    figures = Figures(bascule)
    before = len(refused_handshakes(bascule))
    for _ in range(10):
        connect(bascule.public_url).close()
    assert figures.moved() == {}
    assert len(refused_handshakes(bascule)) == before
