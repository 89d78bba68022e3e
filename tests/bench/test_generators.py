"""The suite's native parts do what they say, or every figure would be worth nothing."""

import os
import shutil
import signal
import socket
from collections.abc import Iterator

import pytest
from bench.generators import Echo, Load, LoadFailed
from bench.peers.base import Running
from bench.peers.yardstick import Yardstick
from bench.progress import Progress
from bench.results import Results
from bench.scenarios import latency as scenario
from bench.scenarios.base import Context
from bench.stands import Fleet

from tests.support.parts import missing
from tests.support.waiting import eventually


@pytest.fixture
def echo() -> Iterator[Echo]:
    """An upstream with heartbeats every 100 ms on its /heartbeat path."""
    if not shutil.which("cc"):
        missing("no C compiler: scripts/install-parts compiler")
    with Echo(100) as upstream:
        yield upstream


@pytest.fixture
def load(echo: Echo) -> Iterator[Load]:
    """A load generator straight at the upstream."""
    with Load(echo.port) as generator:
        yield generator


@pytest.mark.parametrize("size", [1, 7, 8, 125, 126, 65535, 65536, 300_000])
def test_messages_of_every_length_encoding_come_back_whole(load: Load, size: int) -> None:
    """``ask`` refuses an answer with a wrong byte, a lost session or a wrong number."""
    load.ask("open", n=3)
    assert load.ask("run", size=size, flight=4, messages=30)["answered"] == 30


def test_messages_of_32_mib_are_streamed(load: Load) -> None:
    """More than any buffer of the parts."""
    load.ask("open", n=1)
    assert load.ask("run", size=32 * 1024 * 1024, messages=1)["answered"] == 1


def test_close_comes_after_what_was_kept_for_a_slow_reader(echo: Echo) -> None:
    """Echo and Close leave in one turn, of which the socket takes only some: the rest is not given up."""
    data = bytes(60_000)
    frame = b"\x82\xfe" + len(data).to_bytes(2, "big") + bytes(4) + data
    close = b"\x88\x82" + bytes(4) + b"\x03\xe8"
    with socket.socket() as browser:
        browser.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        browser.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 88)  # keeps the upstream's buffer small
        browser.settimeout(10)
        browser.connect(("127.0.0.1", echo.port))
        browser.sendall(b"GET / HTTP/1.1\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n")
        assert b" 101 " in browser.recv(1024)
        os.kill(echo.process.pid, signal.SIGSTOP)  # so that it reads all of it at once
        browser.sendall(frame + close)
        os.kill(echo.process.pid, signal.SIGCONT)
        came = b"".join(iter(lambda: browser.recv(1024), b""))
    assert came == b"\x82\x7e" + frame[2:4] + data + b"\x88\x02\x03\xe8"


def test_source_sends_as_many_messages_as_asked(load: Load) -> None:
    """Small ones are gathered, large ones streamed; both are counted one by one."""
    load.ask("open", n=2, path="/source")
    answer = load.ask("ask", count=1000, size=100)
    assert (answer["pushed"], answer["bytes"]) == (2000, 200_000)
    assert load.ask("ask", count=3, size=1_000_000, sessions=1)["pushed"] == 3


def test_notebook_mix_is_the_same_every_time(load: Load) -> None:
    """Proxies are compared on the very same bytes."""
    load.ask("open", n=2, path="/source")
    assert load.ask("mix", messages=300)["bytes"] == load.ask("mix", messages=300)["bytes"]


def test_heartbeats_are_sent_and_counted(load: Load) -> None:
    """Two for each of the sessions, however busy the machine is."""
    load.ask("open", n=5, path="/heartbeat")
    counted: list[float] = []

    def enough() -> bool:
        counted.append(load.ask("idle", seconds=0.1)["pings"])
        return sum(counted) >= 10

    eventually(enough, 20, "two heartbeats of each session")


def test_storm_brings_every_session_back(load: Load) -> None:
    """All dropped, all reconnected, all usable."""
    load.ask("open", n=20)
    assert load.ask("storm")["back"] == 20
    assert load.ask("run", size=64, messages=20)["answered"] == 20


def test_paced_messages_keep_their_rate(load: Load) -> None:
    """Exponential gaps: about the rate, not exactly, but the same ones every time."""
    load.ask("open", n=20)
    answer = load.ask("paced", size=64, rate=2000, seconds=0.5)
    assert 900 <= answer["answered"] <= 1100
    assert 0 < answer["latency_us"]["p50"] <= answer["latency_us"]["p99"] <= answer["latency_us"]["max"]


def test_http_requests_and_downloads_are_counted(load: Load) -> None:
    """Kept connections for the small ones."""
    assert load.ask("http", path="/small", conns=4, count=40)["http_bytes"] == 40 * 128
    assert load.ask("http", path="/large?bytes=5000000", conns=1, count=1)["http_bytes"] == 5_000_000


def test_endless_neighbours_work_until_the_next_command(load: Load, echo: Echo) -> None:
    """However much passes: it answers when it has begun, and when it is told to end."""
    load.ask("open", n=1, path="/source")
    with Load(echo.port) as download:
        load.send("ask", size=262_144, endless=1)
        download.send("http", path=f"/large?bytes={10**15}", conns=1, count=1, endless=1)
        begun = load.answer(strict=True), download.answer(strict=True)
        assert begun[0]["pushed"] >= 1
        assert begun[1]["http_bytes"] >= 1
        with Load(echo.port) as other:
            other.ask("open", n=2)
            typed = other.ask("paced", size=64, rate=1000, seconds=0.1)
        for neighbour in (load, download):
            neighbour.send("drop")
        ended = load.answer(strict=True), download.answer(strict=True)
        assert ended[0]["pushed"] > begun[0]["pushed"]
        assert ended[1]["http_bytes"] > begun[1]["http_bytes"]
        for first, last in zip(begun, ended, strict=True):
            assert last["wall"] - first["wall"] >= typed["wall"]


def test_endless_neighbour_that_is_lost_says_so(echo: Echo) -> None:
    """A terminal beside nothing would look undisturbed."""
    with Load(echo.port) as load:
        load.ask("open", n=1, path="/source")
        load.send("ask", size=262_144, endless=1)
        load.answer(strict=True)
        echo.process.kill()
        echo.process.wait()
        with pytest.raises(LoadFailed, match="lost"):
            load.answer(strict=True)


def test_terminal_is_measured_beside_both_neighbours() -> None:
    """Each figure once, and nothing to remark."""
    results = Results()
    fleet = Fleet([Yardstick()], results)
    try:
        scenario.Terminal().run(Context(fleet, results, Progress(1), quick=False, smoke=True))
    finally:
        fleet.stop()
    assert results.notes == []
    assert {metric for _, _, metric, _ in results.figures} == {
        "keystroke_alone_p99",
        "keystroke_beside_p99",
        "keystroke_slowdown",
    }


def test_lost_session_fails_the_command(echo: Echo) -> None:
    """A dead upstream must not look like a fast one."""
    with Load(echo.port) as load:
        load.ask("open", n=2)
        echo.process.kill()
        echo.process.wait()
        with pytest.raises(LoadFailed):
            load.ask("run", size=64, messages=10)


def test_message_that_was_never_sent_fails_the_command(load: Load) -> None:
    """The longest delays must not be missing from the percentiles: nobody answers five million a second."""
    load.ask("open", n=1)
    with pytest.raises(LoadFailed, match="shed"):
        load.ask("paced", size=64, rate=5_000_000, seconds=0.05)


def test_yardstick_relays_large_messages_back_and_forth(echo: Echo) -> None:
    """Short writes, kept bytes and back-pressure in both directions."""
    with Running(Yardstick(), echo.port) as proxy, Load(proxy.port) as load:
        load.ask("open", n=3)
        assert load.ask("run", size=4 * 1024 * 1024, flight=4, messages=12)["answered"] == 12
        assert load.ask("close")["unanswered"] == 0
