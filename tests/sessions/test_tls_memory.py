"""What a session with TLS costs in the gateway, where others cost nothing: idle, and where one side is slow.

The chart reckons with these figures (`sizing`), and docs/howto/tune-the-cap.md names them.
"""

from __future__ import annotations

import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

import pytest
from scripts.soak import anonymous_bytes

from tests.support.frames import BINARY, frame
from tests.support.proctree import gateways
from tests.support.rawclient import connected
from tests.support.rawupstream import Call, RawUpstream, run_upstream, switch
from tests.support.tlscost import MOST
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import Start
    from tests.support.bascule import RunningBascule
    from tests.support.certificates import Certificate
    from tests.support.rawclient import RawClient

SESSIONS: Final = 40
LONG: Final = 1.0
"""Seconds after which bytes that nobody has taken are stuck."""


class Flood:
    """An upstream's script that says more than all buffers hold.

    Attributes:
        stuck: One entry for each session that takes no more.
    """

    def __init__(self, over: threading.Event) -> None:
        self.stuck: list[Call] = []
        self._over = over

    def __call__(self, call: Call) -> None:
        switch(call)
        call.frame()
        call.socket.settimeout(LONG)
        piece = frame(BINARY, bytes(1 << 20))
        try:
            while True:
                call.send(piece)
        except TimeoutError:
            self.stuck.append(call)
        self._over.wait()


def push(browser: RawClient, stuck: list[RawClient]) -> None:
    """Say more than all buffers hold; note when no more is taken."""
    browser.socket.settimeout(LONG)
    piece = frame(BINARY, bytes(1 << 20), key=bytes(4))
    try:
        while True:
            browser.send(piece)
    except TimeoutError:
        stuck.append(browser)
    except OSError:  # the test is over
        pass


@pytest.fixture(params=["browsers", "upstream"])
def secure(request: pytest.FixtureRequest) -> str:
    """Return who uses TLS."""
    return str(request.param)


@pytest.fixture
def behind(secure: str, certificate: Certificate) -> Iterator[RawUpstream]:
    with run_upstream(certificate.server() if secure == "upstream" else None) as running:
        yield running


@pytest.fixture
def proxy(bascule: Start, behind: RawUpstream, secure: str, certificate: Certificate) -> RunningBascule:
    tls = {"tls": certificate.block()} if secure == "browsers" else {"upstreamTls": {"verify": False}}
    routes = [{"name": "all", "path": "/", "upstream": behind.url}]
    return bascule({"routes": routes, "forwarders": {"count": 1}, **tls})


@pytest.mark.parametrize("kind", ["idle", "slow browser", "slow upstream"])
def test_a_session_with_tls_costs_the_gateway_no_more_than_the_chart_reckons_with(
    proxy: RunningBascule, behind: RawUpstream, secure: str, certificate: Certificate, kind: str
) -> None:
    context = certificate.client() if secure == "browsers" else None
    over = threading.Event()
    flood = behind.scripts[b"/slow-browser"] = Flood(over)

    def deaf(call: Call) -> None:
        switch(call)
        over.wait()

    behind.scripts[b"/slow-upstream"] = deaf
    stuck: list[RawClient] = []
    with ExitStack() as stack:
        stack.callback(over.set)

        def browse(kind: str) -> None:
            browser = stack.enter_context(connected(proxy.public_url, context))
            browser.open(b"/" + kind.replace(" ", "-").encode())
            browser.say(b"go")
            if kind == "idle":
                browser.reply()
            if kind == "slow upstream":
                threading.Thread(target=push, args=(browser, stuck), daemon=True).start()

        for _ in range(5):  # what the first ones bring about for all
            browse("idle")
        before = anonymous_bytes(gateways(proxy))
        for _ in range(SESSIONS):
            browse(kind)
        if kind != "idle":
            eventually(lambda: len(flood.stuck) + len(stuck) == SESSIONS, 60, "all are stuck")
        each = (anonymous_bytes(gateways(proxy)) - before) / SESSIONS
    print(f"{kind}, TLS of {secure}: {each / 1024:.0f} KiB for each session")
    assert each <= MOST[kind, secure]
