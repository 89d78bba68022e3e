"""How a proxy lets its sessions go, with the product as a process and no browser.

The rolling replacement with real parts is in test_rolling_replacement.py.
"""

import asyncio
import contextlib
import json
import re
import signal
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import pairwise
from typing import Any

import pytest
import pytest_asyncio
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from tests.support.bascule import RunningBascule
from tests.support.frames import TEXT, frame
from tests.support.rawupstream import PATIENCE, Call, run_upstream, switch
from tests.support.waiting import eventually_async, throughout

pytestmark = pytest.mark.timeout(60)

Start = Callable[..., RunningBascule]

RESTART = 1012
REASON = "The proxy is restarting"


@pytest_asyncio.fixture
async def echo() -> AsyncIterator[str]:
    """An echo server; a handshake for ``/slow`` is answered only 1.5 s later."""

    async def answer(connection: ServerConnection) -> None:
        with contextlib.suppress(ConnectionClosed):
            async for message in connection:
                await connection.send(message)

    async def pause(connection: ServerConnection, request: Request) -> Response | None:
        if request.path.endswith("/slow"):
            await asyncio.sleep(1.5)
        return None

    async with serve(answer, "127.0.0.1", 0, ping_interval=None, process_request=pause) as server:
        yield f"http://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"


def settings(upstream: str, **drain: Any) -> dict[str, Any]:
    return {
        "drain": {"timeout": 8, "rate": 0, **drain},
        "routes": [{"name": "echo", "kind": "terminal", "path": "/", "upstream": upstream}],
    }


def join(proxy: RunningBascule, path: str = "/") -> Any:
    return connect(proxy.public_url.replace("http", "ws") + path, ping_interval=None, close_timeout=2)


@contextlib.asynccontextmanager
async def joined(proxy: RunningBascule, count: int) -> AsyncIterator[list[ClientConnection]]:
    """Open sessions that are each known to work."""
    async with contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(join(proxy)) for _ in range(count)]
        for client in clients:
            await client.send("hello")
            assert await client.recv() == "hello"
        yield clients


async def slow_join(proxy: RunningBascule) -> ClientConnection:
    connection: ClientConnection = await join(proxy, "/slow")
    return connection


async def told(client: ClientConnection) -> tuple[float, int, str]:
    """Wait for the end of a session: when, and what the browser was told."""
    with contextlib.suppress(ConnectionClosed):
        while True:
            await client.recv()
    await client.wait_closed()
    return time.monotonic(), client.close_code or 0, client.close_reason or ""


async def drain(proxy: RunningBascule) -> None:
    """Ask for a drain as an operator does."""

    def ask() -> None:
        fields = {"X-Bascule-Admin": "1"}
        request = urllib.request.Request(f"{proxy.admin_url}/drain", method="POST", headers=fields)
        with urllib.request.urlopen(request, timeout=5) as answer:
            assert answer.status == 202

    await asyncio.to_thread(ask)


def is_ready(proxy: RunningBascule) -> bool:
    try:
        with urllib.request.urlopen(f"{proxy.admin_url}/readyz", timeout=5) as answer:
            return bool(answer.status == 200)
    except urllib.error.HTTPError as error:
        with error:
            if error.code != 503:
                raise
        return False


def capacity(proxy: RunningBascule) -> dict[str, Any]:
    """Return what the badges are told."""
    with urllib.request.urlopen(f"{proxy.admin_url}/capacity", timeout=10) as answer:
        body: dict[str, Any] = json.load(answer)
    return {scope: body[scope] for scope in ("instance", "cluster")}


def outcomes(proxy: RunningBascule) -> dict[str, float]:
    """Read what became of the sessions, all in one scrape."""
    series = re.findall(r'^bascule_drain_sessions_total{.*outcome="(\w+)".*} (\S+)$', proxy.metrics(), re.M)
    return {word: float(count) for word, count in series if float(count)}


async def counted(proxy: RunningBascule, **expected: int) -> None:
    """Wait until the drain has counted so many outcomes."""
    with contextlib.suppress(TimeoutError):
        await eventually_async(lambda: sum(outcomes(proxy).values()) >= sum(expected.values()), 5, "outcomes")
    assert outcomes(proxy) == expected


def logged(proxy: RunningBascule, event: str) -> dict[str, Any]:
    return next(line for line in proxy.log_lines if line.get("event") == event)


def terminate(proxy: RunningBascule) -> None:
    proxy.process.process.send_signal(signal.SIGTERM)


async def exited(proxy: RunningBascule, within: float = 10.0) -> None:
    """Wait until the proxy has exited with 0: on a busy machine that takes a while behind the drain."""
    status = await asyncio.to_thread(proxy.process.process.wait, within)
    assert status == 0, proxy.process.said()


async def test_a_drain_asked_for_turns_readiness_false_at_once_closes_all_and_stays_alive(
    bascule: Start, echo: str
) -> None:
    proxy = bascule(settings(echo, naturalEnd=6))
    async with joined(proxy, 3) as clients:
        assert is_ready(proxy)
        await drain(proxy)
        assert not is_ready(proxy)
        assert proxy.metric("ws_draining") == 1
        assert proxy.in_flight == 3
        # It takes nobody, so badges must not promise its free slots.
        assert {part["level"] for part in capacity(proxy).values()} == {"critical"}

        ends = await asyncio.gather(*map(told, clients))

    assert {(code, reason) for _, code, reason in ends} == {(RESTART, REASON)}
    await counted(proxy, closed=3)
    await drain(proxy)  # a second one changes nothing
    async with join(proxy) as newcomer:
        assert (await told(newcomer))[1:] == (RESTART, REASON)
    assert not is_ready(proxy)
    assert outcomes(proxy) == {"closed": 3}
    assert proxy.process.process.poll() is None
    terminate(proxy)
    await exited(proxy, 7)  # sooner than a drain may take


async def test_sessions_may_end_by_themselves_for_a_while_and_heartbeats_go_on_meanwhile(
    bascule: Start, echo: str
) -> None:
    proxy = bascule({**settings(echo, naturalEnd=6), "websocketProxy": {"heartbeatIntervalMs": 200}})
    async with joined(proxy, 3) as (first, *others):
        began = time.monotonic()
        await drain(proxy)
        beats = proxy.metric("bascule_heartbeats_total")
        await first.close()
        await others[0].send("still here")
        assert await others[0].recv() == "still here"
        await eventually_async(
            lambda: proxy.metric("bascule_heartbeats_total") >= beats + 8, 5.9, "four heartbeats each"
        )
        assert all(client.close_code is None for client in others)

        ends = await asyncio.gather(*map(told, others))

    assert all(code == RESTART and at - began >= 5.95 for at, code, _ in ends)
    await counted(proxy, natural=1, closed=2)


async def test_sessions_are_told_at_the_rate_with_jitter_and_the_quietest_first(
    bascule: Start, echo: str
) -> None:
    rate = 20
    proxy = bascule(settings(echo, rate=rate))
    async with joined(proxy, 40) as clients:
        busy = clients[:8]  # the longest open, so that order of arrival cannot be mistaken for quiet

        async def type_on(client: ClientConnection) -> None:
            with contextlib.suppress(ConnectionClosed):
                while True:
                    await client.send("key")
                    await asyncio.sleep(0.1)

        typing = [asyncio.create_task(type_on(client)) for client in busy]
        for client in busy:  # each has typed since the last of the quiet ones did, to be opened
            assert await client.recv() == "key"
        await drain(proxy)
        ends = await asyncio.gather(*map(told, clients))
        await asyncio.gather(*typing)

    moments = sorted(at for at, _, _ in ends)
    assert {code for _, code, _ in ends} == {RESTART}
    # The pace to the millisecond is tests/policy/test_drainplan.py's; here a machine may halt for a second.
    assert moments[-1] - moments[0] >= 40 / rate * 0.5
    for moment in moments:
        assert sum(moment <= other < moment + 0.5 for other in moments) < 40, "all at once"
    gaps = Counter(round(later - sooner, 2) for sooner, later in pairwise(moments))
    assert len(gaps) > 5, f"on a beat: {gaps}"
    last = sorted(range(40), key=lambda n: ends[n][0])[-12:]
    assert set(range(8)) <= set(last), "a busy session went long before a quiet one"


async def test_who_leaves_before_its_turn_left_naturally(bascule: Start, echo: str) -> None:
    proxy = bascule(settings(echo, rate=1))
    async with joined(proxy, 5) as clients:
        await clients[0].send("busy: my turn is the last")
        await clients[0].recv()
        await drain(proxy)
        await clients[0].close()
        await asyncio.gather(*map(told, clients))
    await counted(proxy, natural=1, closed=4)


async def test_a_session_whose_handshake_was_under_way_is_told_too(bascule: Start, echo: str) -> None:
    proxy = bascule(settings(echo))
    async with joined(proxy, 1) as (early,):
        late = asyncio.create_task(slow_join(proxy))
        await eventually_async(lambda: proxy.in_flight == 2, 5, "it has its lease")
        await early.send("busy")
        await drain(proxy)
        assert (await told(early))[1] == RESTART
        client = await late
        async with asyncio.timeout(6):
            assert (await told(client))[1:] == (RESTART, REASON)
    assert proxy.process.process.poll() is None


async def test_sigterm_ends_the_proxy_as_soon_as_the_last_session_is_gone(bascule: Start, echo: str) -> None:
    proxy = bascule(settings(echo, timeout=20, rate=10))
    async with joined(proxy, 10) as clients:
        terminate(proxy)
        ends = await asyncio.gather(*map(told, clients))
        assert {code for _, code, _ in ends} == {RESTART}
        await exited(proxy)
    said = logged(proxy, "drain ends")
    assert (said["natural"], said["closed"], said["aborted"]) == (0, 10, 0)


async def test_without_time_everybody_is_told_all_the_same(bascule: Start, echo: str) -> None:
    proxy = bascule(settings(echo, timeout=0))
    async with joined(proxy, 5) as clients:
        terminate(proxy)
        ends = await asyncio.gather(*map(told, clients))
        await exited(proxy)
    assert {code for _, code, _ in ends} == {RESTART}


async def test_a_rate_the_timeout_has_no_time_for_is_exceeded_and_said(bascule: Start, echo: str) -> None:
    proxy = bascule(settings(echo, timeout=3, rate=1))
    async with joined(proxy, 12) as clients:
        began = time.monotonic()
        terminate(proxy)
        ends = await asyncio.gather(*map(told, clients))
        await exited(proxy)
    assert {code for _, code, _ in ends} == {RESTART}
    assert max(at for at, _, _ in ends) - began < 9, "at its rate it would have taken eleven"
    assert logged(proxy, "drain.timeout is too short for drain.rate")["sessions"] == 12


class HalfSaid:
    """An upstream that stops in the middle of a frame until it is let go on."""

    TEXT = b"0123456789"

    def __init__(self) -> None:
        self.go_on = threading.Event()

    def __call__(self, call: Call) -> None:
        switch(call)
        whole = frame(TEXT, self.TEXT)
        stop = len(whole) - 6
        call.send(whole[:stop])
        self.go_on.wait(PATIENCE)
        call.send(whole[stop:])
        call.until_over()


@contextlib.contextmanager
def half_said() -> Iterator[tuple[HalfSaid, str]]:
    with run_upstream() as upstream:
        script = HalfSaid()
        upstream.scripts[b"/"] = script
        try:
            yield script, upstream.url
        finally:
            script.go_on.set()


async def test_a_close_waits_for_the_end_of_the_frame_under_way(bascule: Start) -> None:
    with half_said() as (upstream, address):
        # The upstream answers no Close, so that is how long the session takes to end.
        proxy = bascule({**settings(address), "limits": {"closingHandshakeTimeout": "1s"}})
        async with join(proxy) as client:
            await eventually_async(lambda: len(proxy.sessions()) == 1, 5, "the session is up")
            await drain(proxy)

            def open_still() -> None:
                assert client.close_code is None

            await throughout(1.5, open_still)
            upstream.go_on.set()
            assert await client.recv() == HalfSaid.TEXT.decode()
            assert (await told(client))[1:] == (RESTART, REASON)
        await counted(proxy, closed=1)


async def test_who_cannot_be_told_is_cut_at_the_timeout_and_the_proxy_exits_with_0(bascule: Start) -> None:
    with half_said() as (_, address):
        proxy = bascule(settings(address, timeout=2))
        async with join(proxy) as client:
            await eventually_async(lambda: len(proxy.sessions()) == 1, 5, "the session is up")
            terminate(proxy)
            await exited(proxy)
            assert (await told(client))[1] == 1006
        said = logged(proxy, "drain ends")
        assert 1.3 <= said["seconds"] <= 5  # drain.timeout, and what a busy machine halts for
        # It is cut at the very end: the gateway may hear of that just before it counts what is left.
        assert (said["natural"], said["closed"] + said["aborted"]) == (0, 1)


async def test_a_drain_asked_for_can_be_finished_by_sigterm(bascule: Start, echo: str) -> None:
    proxy = bascule(settings(echo, rate=5))
    async with joined(proxy, 10) as clients:
        await drain(proxy)
        terminate(proxy)
        ends = await asyncio.gather(*map(told, clients))
        await exited(proxy)
    assert {code for _, code, _ in ends} == {RESTART}
    assert logged(proxy, "drain ends")["closed"] == 10


async def test_who_scrapes_learns_how_the_drain_ended_before_the_proxy_goes(
    bascule: Start, echo: str
) -> None:
    proxy = bascule(settings(echo, timeout=2, lastScrape=50))
    async with joined(proxy, 3) as clients:
        assert outcomes(proxy) == {}
        terminate(proxy)
        await asyncio.gather(*map(told, clients))
    waiting = await asyncio.to_thread(proxy.all_events, "waiting for a last scrape", 1)
    assert waiting[0]["readers"] == ["127.0.0.1"]
    assert proxy.process.process.poll() is None
    assert outcomes(proxy) == {"closed": 3}
    await exited(proxy)
    assert proxy.events("no last scrape") == []


async def test_who_scrapes_learns_of_sessions_that_were_cut(bascule: Start) -> None:
    with half_said() as (_, address):
        proxy = bascule(settings(address, timeout=1, lastScrape=50))
        async with join(proxy) as client:
            await eventually_async(lambda: len(proxy.sessions()) == 1, 5, "the session is up")
            assert outcomes(proxy) == {}
            terminate(proxy)
            await asyncio.to_thread(proxy.all_events, "waiting for a last scrape", 1)
            assert sum(outcomes(proxy).values()) == 1
            await exited(proxy)
            assert (await told(client))[1] == 1006


async def test_a_scrape_that_does_not_come_is_not_waited_for_for_ever(bascule: Start, echo: str) -> None:
    proxy = bascule(settings(echo, timeout=1, lastScrape=1))
    assert outcomes(proxy) == {}
    terminate(proxy)
    await exited(proxy)
    assert proxy.events("no last scrape")[0]["readers"] == ["127.0.0.1"]


async def test_a_gateway_that_follows_another_knows_who_scrapes(bascule: Start, echo: str) -> None:
    proxy = bascule(settings(echo, timeout=1, lastScrape=50))
    assert outcomes(proxy) == {}
    assert proxy.reload(readiness={"maxShare": 0.9})
    terminate(proxy)
    await asyncio.to_thread(proxy.all_events, "waiting for a last scrape", 1)
    assert outcomes(proxy) == {}
    await exited(proxy)
