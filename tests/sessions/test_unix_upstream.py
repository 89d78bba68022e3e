"""Sessions whose upstream is a Unix socket, with either build of the hot path.

What is true of them is what is true over TCP; what can differ is the kernel's: such a socket reports the end
of its peer at once, ahead of what is still to be read, and has no reset of its own.
"""

from __future__ import annotations

import os
import tempfile
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.bascule import RunningBascule, run_bascule
from tests.support.frames import BINARY, CLOSE, KEY, PONG, close, frame
from tests.support.proctree import gateway, kill
from tests.support.rawclient import connect, connected
from tests.support.rawupstream import RawUpstream, echo_frames, run_upstream, switch
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.rawclient import Clients
    from tests.support.rawupstream import Call

MEBIBYTE = 1 << 20
UNREACHABLE = b"WebSocket upstream is not reachable"
ENDED = b"The upstream ended the connection without a Close frame"


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="bascule-") as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def upstream(folder: Path) -> Iterator[RawUpstream]:
    with run_upstream(path=folder / "app.sock") as running:
        yield running


@pytest.fixture(scope="module", params=["compiled", "pure"])
def bascule(
    request: pytest.FixtureRequest,
    upstream: RawUpstream,
    folder: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[RunningBascule]:
    """Run one without root's right to open what its user may not."""
    config = {
        "routes": [
            {"name": "all", "path": "/", "upstream": upstream.url},
            {"name": "missing", "path": "/missing", "upstream": f"{upstream.url}-missing"},
            {"name": "forbidden", "path": "/forbidden", "upstream": f"{upstream.url}-forbidden"},
        ],
        "forwarders": {"count": 1},
        "websocketProxy": {"heartbeatIntervalMs": 200},
        "limits": {"refusalHoldMax": 0, "closingHandshakeTimeout": "1s"},
    }
    env = {"BASCULE_PURE": "1"} if request.param == "pure" else {}
    under = ("setpriv", "--bounding-set", "-dac_override,-dac_read_search") if os.geteuid() == 0 else ()
    with run_bascule(tmp_path_factory.mktemp("bascule"), config, env=env, under=under) as running:
        (line,) = running.events("listening")
        assert line["hot_path"] == request.param
        yield running


@pytest.fixture(autouse=True)
def quiet(bascule: RunningBascule, upstream: RawUpstream) -> Iterator[None]:
    """Leave no session and no script of one test to the next."""
    usual = dict(upstream.scripts)
    yield
    upstream.scripts.clear()
    upstream.scripts.update(usual)
    eventually(lambda: bascule.in_flight_if_up == 0, 20, "all sessions have ended")


def test_frames_of_every_size_pass_both_ways(bascule: RunningBascule, clients: Clients) -> None:
    client = clients(bascule.public_url)
    client.open(b"/")
    for size in (0, 1, 125, 126, 65535, 65536, 300_000, MEBIBYTE, 5 * MEBIBYTE):
        payload = os.urandom(size)
        sending = threading.Thread(target=client.say, args=(payload, BINARY))
        sending.start()  # its echo comes while it is sent
        said = client.reply()
        sending.join()
        assert said.payload == payload
    client.send(close(4321, b"enough", key=KEY))
    ended = client.reply()
    assert (ended.opcode, ended.code, ended.reason) == (CLOSE, 4321, b"enough")
    assert client.rest() == b""


def test_the_list_of_sessions_names_the_socket_and_the_upstream_sees_the_browsers_host(
    bascule: RunningBascule, upstream: RawUpstream, folder: Path, clients: Clients
) -> None:
    client = clients(bascule.public_url)
    client.open(b"/named", host=b"notebooks.example")
    (row,) = bascule.sessions()
    assert row["upstream"] == f"unix:{folder}/app.sock"
    (call,) = upstream.calls_for(b"/named")[-1:]
    assert call.value(b"Host") == b"notebooks.example"
    assert call.value(b"X-Forwarded-For") == b"127.0.0.1"


def test_what_a_slow_browser_does_not_take_waits_at_the_upstream(
    bascule: RunningBascule, upstream: RawUpstream, clients: Clients
) -> None:
    total, sent = 64, []

    def flood(call: Call) -> None:
        switch(call)
        for number in range(total):
            call.send(frame(BINARY, bytes([number]) * MEBIBYTE))
            sent.append(number)
        echo_frames(call)

    upstream.scripts[b"/flood"] = flood
    client = clients(bascule.public_url, None, 65536)
    client.open(b"/flood")
    eventually(lambda: bascule.metric("bascule_stashed_bytes") > 0, 10, "something waits")
    before = eventually(lambda: len(sent) if sent else None, 10, "something was sent")
    assert bascule.metric("bascule_stashed_bytes") <= 256 * 1024
    assert before < total
    for number in range(total):
        assert client.reply().payload == bytes([number]) * MEBIBYTE


@pytest.mark.parametrize("size", [1000, 300_000, 3 * MEBIBYTE])
def test_all_that_an_upstream_said_before_it_left_arrives(
    bascule: RunningBascule, upstream: RawUpstream, clients: Clients, size: int
) -> None:
    """The kernel tells of the end while most of it is still to be read."""

    def last_words(call: Call) -> None:
        switch(call)
        call.send(frame(BINARY, b"x" * size) + close(1001, b"leaving"))

    upstream.scripts[b"/leaving"] = last_words
    client = clients(bascule.public_url, None, 8192)
    client.open(b"/leaving")
    assert client.reply().payload == b"x" * size
    ended = client.reply()
    assert (ended.opcode, ended.code, ended.reason) == (CLOSE, 1001, b"leaving")


def test_an_upstream_that_vanishes_is_told(
    bascule: RunningBascule, upstream: RawUpstream, clients: Clients
) -> None:
    upstream.scripts[b"/vanishing"] = switch
    client = clients(bascule.public_url)
    client.open(b"/vanishing")
    ended = client.reply()
    assert (ended.opcode, ended.code, ended.reason) == (CLOSE, 1014, ENDED)


def test_a_browser_that_vanishes_is_told_to_the_upstream(
    bascule: RunningBascule, upstream: RawUpstream
) -> None:
    heard: list[int | None] = []

    def script(call: Call) -> None:
        switch(call)
        found = call.frame()
        heard.append(None if found is None else found.code)

    upstream.scripts[b"/heard"] = script
    with connected(bascule.public_url) as client:
        client.open(b"/heard")
    eventually(lambda: heard == [1001], 10, "the upstream is told")


def test_heartbeats_reach_the_browser(bascule: RunningBascule, clients: Clients) -> None:
    client = clients(bascule.public_url)
    client.open(b"/")
    assert client.frame().opcode == PONG


@pytest.mark.parametrize(
    ("path", "error"),
    [(b"/missing", "ENOENT"), (b"/forbidden", "EACCES"), (b"/forbidden-none", "ECONNREFUSED")],
)
def test_a_socket_that_cannot_be_reached_is_1013(
    bascule: RunningBascule, upstream: RawUpstream, folder: Path, clients: Clients, path: bytes, error: str
) -> None:
    with ExitStack() as stack:
        if path != b"/missing":
            path = b"/forbidden"
            other = folder / "app.sock-forbidden"
            running = run_upstream(path=other)
            stack.callback(other.unlink, missing_ok=True)
            if error == "EACCES":
                stack.enter_context(running)
                other.chmod(0o444)
            else:
                with running:
                    pass
        known = len(bascule.events("session refused"))
        client = clients(bascule.public_url)
        client.open(path)
        said = client.refusal()
        assert (said.code, said.reason) == (1013, UNREACHABLE)
        *_, line = bascule.all_events("session refused", known + 1)
        assert line["detail"] == f"connect failed: {error}"
        assert line["upstream"].startswith("unix:/")
        answer = clients(bascule.public_url)
        answer.send(b"GET %b HTTP/1.1\r\nHost: front\r\n\r\n" % path)
        assert answer.answer().status == 502


def test_sessions_outlive_a_gateway_and_a_reload(bascule: RunningBascule) -> None:
    with ExitStack() as stack:
        client = connect(bascule.public_url)
        stack.callback(client.close)
        client.open(b"/")

        def works() -> None:
            client.say(b"still there")
            assert client.reply().payload == b"still there"

        works()
        kill(gateway(bascule))
        works()
        eventually(lambda: bascule.in_flight_if_up == 1, 20, "another gateway counts it")
        bascule.goes_over(77, pool={"heartbeatIntervalMs": 200})
        works()
        assert bascule.in_flight == 1
        with connected(bascule.public_url) as another:
            another.open(b"/")
            another.say(b"new")
            assert another.reply().payload == b"new"
