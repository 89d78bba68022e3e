"""A browser whose network is cut without a word: found by TCP, and its slot is free again.

While we send heartbeats it is what we sent that nobody acknowledges (TCP_USER_TIMEOUT); where nobody sends
anything it is keepalive's probes. Behind an ingress, which acknowledges what we sent, it is our pings that
the browser does not answer.

Two network namespaces stand for the browser's machine and ours; the cable between them
is pulled. Needs root.
"""

import contextlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.bascule import RunningBascule
from tests.support.echo import run_echo
from tests.support.network import ip, named_network, own_network
from tests.support.nginx import run_nginx
from tests.support.parts import ROOT
from tests.support.waiting import eventually, throughout

CLIENT = """
import sys
from websockets.sync.client import connect
with connect(sys.argv[1], ping_interval=None) as ws:
    ws.send("here")
    said = ws.recv()
    ws.pong()  # acknowledges that: while anything is not, it is sent again, and no keepalive begins
    print(said, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def cable() -> Iterator[tuple[str, str, Callable[[], None]]]:
    """A namespace that reaches us over one cable: its name, our address there, and how to pull it."""
    with own_network(), named_network() as name:
        ours, theirs = f"{name}o", f"{name}t"
        ip("link", "add", ours, "type", "veth", "peer", "name", theirs, "netns", name)
        ip("addr", "add", "10.231.0.1/30", "dev", ours)
        ip("link", "set", ours, "up")
        ip("-n", name, "addr", "add", "10.231.0.2/30", "dev", theirs)
        ip("-n", name, "link", "set", theirs, "up")
        yield name, "10.231.0.1", lambda: ip("-n", name, "link", "set", theirs, "down")


@contextlib.contextmanager
def run_browser(namespace: str, url: str) -> Iterator[None]:
    """Run a browser on the other machine that has exchanged a message with ``url`` and says nothing more."""
    browser = subprocess.Popen(
        ["ip", "netns", "exec", namespace, sys.executable, "-c", CLIENT, url.replace("http", "ws")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
    )
    try:
        assert browser.stdout is not None
        assert browser.stdout.readline() == b"here\n"
        yield
    finally:
        browser.kill()
        browser.communicate()


@pytest.mark.real
@pytest.mark.parametrize(
    ("heartbeat", "sockets"),
    [
        pytest.param(500, {"userTimeout": "2s"}, id="heartbeats"),
        pytest.param(
            0,
            {"userTimeout": 0, "keepaliveIdle": 1, "keepaliveInterval": 1, "keepaliveProbes": 2},
            id="keepalive",
        ),
    ],
)
def test_a_browser_that_vanished_gives_its_slot_back(
    cable: tuple[str, str, Callable[[], None]],
    bascule: Callable[..., RunningBascule],
    heartbeat: int,
    sockets: dict[str, int | str],
) -> None:
    namespace, address, pull = cable
    with run_echo() as echo:
        proxy = bascule(
            {
                "listen": f"{address}:0",
                "routes": [{"name": "echo", "path": "/", "upstream": echo}],
                "websocketProxy": {"heartbeatIntervalMs": heartbeat},
                "sockets": sockets,
            }
        )
        with run_browser(namespace, proxy.public_url):
            assert proxy.in_flight == 1

            pull()

            eventually(lambda: proxy.in_flight == 0, 15, "the slot comes back")
            assert proxy.metric("bascule_sessions_ended_total", cause="timeout", ended_by="client") == 1
            assert (proxy.metric("bascule_heartbeats_total") > 0) == (heartbeat > 0)


@pytest.mark.real
@pytest.mark.parametrize("answer", [0, 3], ids=["pongs", "pings"])
async def test_behind_an_ingress_it_does_only_where_it_has_to_answer(
    cable: tuple[str, str, Callable[[], None]],
    bascule: Callable[..., RunningBascule],
    tmp_path: Path,
    answer: int,
) -> None:
    namespace, address, pull = cable
    with run_echo() as echo:
        proxy = bascule(
            {
                "routes": [{"name": "echo", "path": "/", "upstream": echo}],
                "websocketProxy": {"heartbeatIntervalMs": 500},
                "sockets": {"userTimeout": "1s"},
                "limits": {"pongTimeout": answer},
            }
        )
        with (
            run_nginx(tmp_path, proxy.public_url, address=address) as ingress,
            run_browser(namespace, ingress),
        ):

            def is_open() -> None:
                assert proxy.in_flight == 1

            await throughout(5, is_open)

            pull()

            if not answer:  # nginx acknowledges our pongs, and goes on sending them to nobody
                await throughout(8, is_open)
                return
            eventually(lambda: proxy.in_flight == 0, 15, "the slot comes back")
            assert proxy.metric("bascule_sessions_ended_total", cause="timeout", ended_by="client") == 1
            (end,) = proxy.all_events("session ended", 1)
            assert (end["ended_by"], end["cause"]) == ("client", "timeout")
