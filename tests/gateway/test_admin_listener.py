"""Connections of the admin listener that ask for nothing are bounded; those that send rubbish are told so."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
import struct
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
from aiohttp import web

from bascule.admin.api import Administration
from bascule.admin.problem import problems
from bascule.gateway import admin_listener as module
from bascule.gateway import arrivals
from bascule.gateway.admin_listener import AdminListener
from bascule.gateway.bounded import Bounded
from bascule.gateway.farewell import FAREWELL_SECONDS
from bascule.policy.config import Config, Limits, Sockets
from tests.admin.fake_view import FakeView, config
from tests.gateway.plain_support import Peer
from tests.support.waiting import eventually_async

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from tests.gateway.plain_support import Message

    Open = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]

MOST = 3
FIRST_HEAD = 0.3
MORE_THAN_THE_KERNEL_KEEPS = 16 << 20
REQUEST = b"GET /now HTTP/1.1\r\nHost: admin\r\n\r\n"
ENDLESS = b"GET /stream HTTP/1.1\r\nHost: admin\r\n\r\n"


async def _now(_: web.Request) -> web.Response:
    return web.Response(text="now")


async def _much(_: web.Request) -> web.Response:
    return web.Response(body=bytes(MORE_THAN_THE_KERNEL_KEEPS))


async def _stream(request: web.Request) -> web.StreamResponse:
    answer = web.StreamResponse()
    await answer.prepare(request)
    while True:
        await answer.write(b"on")
        await asyncio.sleep(0.02)


def patient(seconds: float) -> Config:
    """Return a configuration that gives a first head so long."""
    return Config(limits=Limits(handshake_timeout=seconds))


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> list[module._Connection]:
    """All that were made, in order."""
    made: list[module._Connection] = []

    class Noted(module._Connection):
        __slots__ = ()

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            made.append(self)

    monkeypatch.setattr(module, "_Connection", Noted)
    return made


@pytest_asyncio.fixture
async def connect(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> AsyncIterator[Open]:
    """Run a listener, and return what connects to it."""
    monkeypatch.setattr(module, "MOST_IDLE", MOST)
    app = web.Application()
    app.router.add_get("/now", _now)
    app.router.add_get("/stream", _stream)
    app.router.add_get("/much", _much)
    listener = AdminListener(app, patient(getattr(request, "param", 60.0)))
    listening = socket.create_server(("127.0.0.1", 0))
    await listener.start(listening)
    async with contextlib.AsyncExitStack() as stack:

        async def opened() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
            reader, writer = await asyncio.open_connection(*listening.getsockname())
            stack.callback(writer.close)
            return reader, writer

        yield opened
    await listener.close()


async def test_the_kernel_holds_as_many_connections_as_the_configuration_says() -> None:
    backlog = 7
    listener = AdminListener(web.Application(), Config(sockets=Sockets(backlog=backlog)))
    with socket.create_server(("127.0.0.1", 0), backlog=backlog) as listening:
        await listener.start(listening)
        # Of a socket that listens `tcpi_sacked` is its backlog.
        (found,) = struct.unpack_from("28xI", listening.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 32))
        await listener.close()
    assert found == backlog


async def _is_cut(reader: asyncio.StreamReader) -> bool:
    """Tell whether the connection ends, whatever came before."""
    try:
        async with asyncio.timeout(5):
            await reader.read()
    except TimeoutError:
        return False
    except ConnectionError:
        pass
    return True


async def _asked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    writer.write(REQUEST)
    async with asyncio.timeout(5):
        return await reader.readuntil(b"now")


async def test_whoever_has_said_nothing_longest_goes(connect: Open) -> None:
    silent, _ = await connect()
    half, writer = await connect()
    writer.write(REQUEST[:10])
    kept = await connect()
    assert await _asked(*kept)  # it is the last to be idle now
    newest = [await connect() for _ in range(MOST - 1)]
    assert await _is_cut(silent)
    assert await _is_cut(half)
    for each in (kept, *newest):
        assert await _asked(*each)


async def test_whoever_takes_nothing_of_its_answer_goes_all_the_same(
    connect: Open, connections: list[module._Connection]
) -> None:
    _, first = await connect()
    with socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.connect(first.get_extra_info("peername"))
        deaf.send(b"GET /much HTTP/1.1\r\nHost: admin\r\n\r\n")
        await asyncio.get_running_loop().run_in_executor(None, deaf.recv, 1)  # it is answered, and idle
        its = connections[1]
        for _ in range(MOST):
            await connect()
        await eventually_async(lambda: its.transport is None, 3 * FAREWELL_SECONDS, "it is cut")


async def test_a_connection_whose_next_request_is_there_is_not_idle(
    connect: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered: list[bool] = []
    enter = Bounded.enter

    def noted(idle: Bounded, connection: module._Connection, drop: Callable[[], None]) -> None:
        entered.append(connection.has_more)
        enter(idle, connection, drop)

    reader, writer = await connect()
    await _asked(reader, writer)
    monkeypatch.setattr(Bounded, "enter", noted)
    writer.write(3 * REQUEST)
    for _ in range(3):
        await reader.readuntil(b"now")
    await eventually_async(lambda: entered, 5, "all are answered")
    assert entered == [False]


async def test_a_connection_whose_next_request_has_been_read_is_not_idle(
    connect: Open, connections: list[module._Connection]
) -> None:
    reader, writer = await connect()
    await _asked(reader, writer)
    (its,) = connections
    its.data_received(REQUEST)
    its._waiting.idle.shed(1)  # in the same turn of the loop: others have come
    async with asyncio.timeout(5):
        assert await reader.readuntil(b"now")


async def test_whoever_was_answered_before_the_application_was_asked_is_idle(
    connect: Open, connections: list[module._Connection]
) -> None:
    reader, writer = await connect()
    writer.write(REQUEST.replace(b"Host", b"Expect: nothing\r\nHost"))
    async with asyncio.timeout(5):
        assert await reader.readuntil(b"\r\n\r\n")
    (its,) = connections
    its._waiting.idle.shed(1)
    assert await _is_cut(reader)


async def test_a_request_under_way_is_not_counted(connect: Open) -> None:
    reader, writer = await connect()
    writer.write(ENDLESS)
    await reader.readuntil(b"on")
    others = [await connect() for _ in range(MOST + 1)]
    assert await _is_cut(others[0][0])
    assert await reader.readuntil(b"on")


@pytest.mark.parametrize("connect", [FIRST_HEAD], indirect=True)
@pytest.mark.parametrize("said", [b"", REQUEST[:10]], ids=["nothing", "half"])
async def test_a_first_head_has_its_time(connect: Open, said: bytes) -> None:
    reader, writer = await connect()
    writer.write(said)
    assert await _is_cut(reader)


@pytest.mark.parametrize("connect", [FIRST_HEAD], indirect=True)
async def test_a_request_under_way_may_take_longer_than_a_head(connect: Open) -> None:
    reader, writer = await connect()
    writer.write(ENDLESS)
    loop = asyncio.get_running_loop()
    until = loop.time() + 3 * FIRST_HEAD
    while loop.time() < until:
        assert await reader.readuntil(b"on")


async def test_whoever_closes_it_again_waits_for_the_answer_under_way_too() -> None:
    begun, goes_on = asyncio.Event(), asyncio.Event()
    said: list[str] = []

    async def answer(_: web.Request) -> web.Response:
        begun.set()
        await goes_on.wait()
        said.append("answered")
        return web.Response(text="now")

    async def close() -> None:
        await listener.close()
        said.append("closed")

    app = web.Application()
    app.router.add_get("/now", answer)
    listener = AdminListener(app, patient(60.0))
    listening = socket.create_server(("127.0.0.1", 0))
    await listener.start(listening)
    async with asyncio.timeout(5):
        reader, writer = await asyncio.open_connection(*listening.getsockname())
        writer.write(REQUEST)
        await begun.wait()
        async with asyncio.TaskGroup() as closing:
            for _ in range(2):  # as a gateway does that retires, and when it ends
                closing.create_task(close())
            await asyncio.sleep(0)  # both have begun
            goes_on.set()
        assert said == ["answered", "closed", "closed"]
        assert await reader.readuntil(b"now")
        writer.close()


# -- another gateway takes over ---------------------------------------------------------------------------

POSTED = b"POST /body HTTP/1.1\r\nHost: admin\r\nContent-Length: 4\r\n\r\n"


@contextlib.asynccontextmanager
async def retiring(
    *, asked: bool = False, slow: float = 4 * arrivals.ARRIVES
) -> AsyncIterator[tuple[AdminListener, Peer]]:
    """Serve, and connect; whoever has asked has been answered once. One answer takes ``slow`` seconds."""

    async def body(request: web.Request) -> web.Response:
        return web.Response(text=await request.text())

    async def late(request: web.Request) -> web.Response:
        await asyncio.sleep(slow)
        return web.Response(text="late")

    app = web.Application()
    app.router.add_get("/now", _now)
    app.router.add_get("/late", late)
    app.router.add_post("/body", body)
    listener = AdminListener(app, patient(60.0))
    listening = socket.create_server(("127.0.0.1", 0))
    await listener.start(listening)
    peer = Peer(*await asyncio.open_connection(*listening.getsockname()))
    async with asyncio.timeout(10):
        if asked:
            await peer.send(REQUEST)
            assert (await peer.message()).body == b"now"
        else:
            await eventually_async(lambda: len(listener.waiting.heads), 5, "it is accepted")
        yield listener, peer
        await peer.close()
        await listener.close()


@pytest.mark.parametrize(
    ("asked", "first", "rest", "body"),
    [
        (False, b"", REQUEST, b"now"),
        (False, REQUEST[:10], REQUEST[10:], b"now"),
        (True, REQUEST[:10], REQUEST[10:], b"now"),
        (True, b"\r\n" + REQUEST[:10], REQUEST[10:], b"now"),
        (False, POSTED + b"ab", b"cd", b"abcd"),
    ],
    ids=["connected", "half", "half of another", "half behind an empty line", "half a body"],
)
async def test_who_has_begun_to_ask_is_answered(asked: bool, first: bytes, rest: bytes, body: bytes) -> None:
    async with retiring(asked=asked) as (listener, peer):
        await peer.send(first)
        await asyncio.sleep(0.05)
        closed = asyncio.create_task(listener.retire())
        await asyncio.sleep(0.05)
        await peer.send(rest)
        assert (await peer.message()).body == body
        assert await peer.ended()
        await closed


async def test_who_waits_for_an_answer_gets_it_though_it_takes_longer_than_heads_may() -> None:
    async with retiring() as (listener, peer):
        await peer.send(b"GET /late HTTP/1.1\r\nHost: admin\r\n\r\n")
        await eventually_async(lambda: not listener.waiting.heads, 5, "it has asked")
        await listener.retire()
        assert (await peer.message()).body == b"late"
        assert await peer.ended()


async def test_no_answer_is_waited_for_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrivals, "_ANSWERED", 0.1)
    async with retiring(slow=60.0) as (listener, peer):
        await peer.send(b"GET /late HTTP/1.1\r\nHost: admin\r\n\r\n")
        await eventually_async(lambda: not listener.waiting.heads, 5, "it has asked")
        await listener.retire()
        assert await peer.ended()


async def test_who_asks_for_nothing_more_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrivals, "ARRIVES", 60.0)
    async with retiring(asked=True) as (listener, peer):
        await peer.send(b"\r\n")
        await asyncio.sleep(0.05)
        await listener.retire()
        assert await peer.ended()


async def test_who_goes_on_beginning_is_waited_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrivals, "ARRIVES", 0.1)
    async with retiring() as (listener, peer):
        await peer.send(REQUEST[:10])
        await listener.retire()
        assert await peer.ended()


async def test_a_stop_waits_for_nobody_who_has_only_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrivals, "ARRIVES", 60.0)
    async with retiring() as (listener, peer):
        closed = asyncio.create_task(listener.retire())
        await asyncio.sleep(0.05)
        await listener.close()
        assert await peer.ended()
        await closed


@pytest.mark.parametrize("connect", [FIRST_HEAD], indirect=True)
async def test_a_later_head_has_its_time(connect: Open) -> None:
    reader, writer = await connect()
    await _asked(reader, writer)
    writer.write(REQUEST[:10])
    assert await _is_cut(reader)


# -- what does not parse ----------------------------------------------------------------------------------

SECRET = "TOPSECRET"
TOKEN = "a-token-nobody-guesses"
HOST = b"Host: 127.0.0.1\r\n"
GIVEN = b"Authorization: Bearer " + TOKEN.encode() + b"\r\n"
POST = b"POST /api/routes/a HTTP/1.1\r\n" + HOST
ZIPPED = b"Content-Encoding: gzip\r\nContent-Length: 9\r\n\r\n" + SECRET.encode()
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"


@contextlib.asynccontextmanager
async def served(app: web.Application) -> AsyncIterator[Peer]:
    """Serve an application, and connect to it."""
    listener = AdminListener(app, patient(60.0))
    listening = socket.create_server(("127.0.0.1", 0))
    await listener.start(listening)
    peer = Peer(*await asyncio.open_connection(*listening.getsockname()))
    yield peer
    await peer.close()
    await listener.close()


@pytest_asyncio.fixture
async def admin(caplog: pytest.LogCaptureFixture) -> AsyncIterator[Peer]:
    """Connect to the admin API; nothing that is sent to it is worth more than a debug line, nor repeated."""
    caplog.set_level(logging.DEBUG)
    async with served(Administration(FakeView(config(admin_token=TOKEN))).app) as peer:
        yield peer
    assert [record for record in caplog.records if record.levelno > logging.DEBUG] == []
    assert SECRET not in caplog.text
    assert TOKEN not in caplog.text


def _is_problem(answer: Message, status: int) -> None:
    assert answer.start_line.startswith(b"HTTP/1.1 %d " % status)
    assert answer.value(b"Content-Type") == b"application/problem+json"
    assert answer.value(b"Server") == b"bascule"
    assert answer.value(b"Cache-Control") == b"no-store"
    assert answer.value(b"X-Content-Type-Options") == b"nosniff"
    assert json.loads(answer.body)["status"] == status
    assert SECRET.encode() not in answer.body


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET / HTTP/1.1\r\n" + HOST + b"Authorization: Bearer TOPSECRET\r\r\n\r\n", 400),
        (b"GET /metrics?token=TOPSECRET HTTP/1.x\r\n\r\n", 400),
        (b"TOPSECRET\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + HOST + b"Authorization: " + b"TOPSECRET" * 1000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + HOST + b"A: TOPSECRET\r\n" * 129 + b"\r\n", 431),
        (POST + CHUNKED + b"TOPSECRET\r\n", 400),
    ],
)
async def test_what_does_not_parse_is_repeated_nowhere(
    admin: Peer, request_bytes: bytes, status: int
) -> None:
    await admin.send(request_bytes)
    answer = await admin.message()
    _is_problem(answer, status)
    assert answer.value(b"Connection") == b"close"
    assert await admin.ended()


@pytest.mark.parametrize("method", [b"PUT", b"PROPFIND", b"BREW"])
@pytest.mark.parametrize(
    ("path", "allowed"), [(b"/sessions", b"GET,HEAD"), (b"/drain", b"POST"), (b"/events", b"GET")]
)
async def test_a_method_that_a_path_does_not_have_is_answered_with_those_that_it_has(
    admin: Peer, method: bytes, path: bytes, allowed: bytes
) -> None:
    await admin.send(b"%b %b HTTP/1.1\r\n" % (method, path) + HOST + b"Content-Length: 0\r\n\r\n")
    answer = await admin.message()
    _is_problem(answer, 405)
    assert answer.value(b"Allow") == allowed
    await admin.send(b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\n")  # and the connection goes on
    assert (await admin.message()).status == 200


async def test_a_method_that_nobody_knows_is_the_pools_words_at_metrics(admin: Peer) -> None:
    await admin.send(b"BREW /metrics HTTP/1.1\r\n" + HOST + b"\r\n")
    answer = await admin.message()
    assert (answer.status, answer.body) == (405, b"HTTP method [BREW] not allowed\n")


async def test_a_head_in_pieces_has_the_method_that_was_sent(
    connections: list[module._Connection], admin: Peer
) -> None:
    await admin.send(b"GE")
    await eventually_async(lambda: not connections[0]._is_first, 10.0, "it is read alone")
    await admin.send(b"T /healthz HTTP/1.1\r\n" + HOST + b"\r\n")
    assert (await admin.message()).status == 200
    await admin.send(b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\nGE")
    assert (await admin.message()).status == 200
    await admin.send(b"T /healthz HTTP/1.1\r\n" + HOST + b"\r\n")
    assert (await admin.message()).status == 200


@pytest.mark.parametrize("path", [b"/metrics", b"/nothing", b"/api/routes/a"])
async def test_an_expectation_that_nobody_meets_is_a_problem(admin: Peer, path: bytes) -> None:
    await admin.send(b"GET %b HTTP/1.1\r\n" % path + HOST + b"Expect: TOPSECRET\r\n\r\n")
    _is_problem(await admin.message(), 417)


@pytest.mark.parametrize(("credentials", "status"), [(b"", 403), (GIVEN, 400)])
async def test_a_body_is_never_unpacked(admin: Peer, credentials: bytes, status: int) -> None:
    await admin.send(POST + credentials + ZIPPED)
    _is_problem(await admin.message(), status)
    await admin.send(POST + credentials + ZIPPED)  # and the connection goes on
    _is_problem(await admin.message(), status)


async def test_a_body_whose_framing_breaks_is_a_bad_request(admin: Peer) -> None:
    await admin.send(POST + GIVEN + b"Expect: 100-continue\r\n" + CHUNKED)
    assert (await admin.head()).status == 100
    await admin.send(b"TOPSECRET\r\n")
    _is_problem(await admin.message(), 400)
    assert await admin.ended()


@pytest.mark.parametrize(
    "first",
    [
        POST + GIVEN + CHUNKED + b"0\r\nX-User: TOPSECRET\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\n" + HOST + b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
    ],
    ids=["trailer", "upgrade"],
)
async def test_nobody_is_taken_for_another_who_shares_a_connection(admin: Peer, first: bytes) -> None:
    """The parser puts a trailer among the next request's fields, and loses what came behind an upgrade."""
    await admin.send(first)
    assert (await admin.message()).value(b"Connection") == b"close"
    assert await admin.ended()


async def test_a_field_that_a_proxy_sends_twice_is_as_welcome_as_at_the_public_listener(admin: Peer) -> None:
    twice = HOST + b"User-Agent: TOPSECRET\r\nX: 1\r\nuser-agent: TOPSECRET\r\n"
    for _ in range(2):
        await admin.send(b"GET /healthz HTTP/1.1\r\n" + twice + b"\r\n")
        assert (await admin.message()).status == 200
    body = b'{"target": "http://127.0.0.1:9"}'
    lines = twice + GIVEN + b"Content-Length: %d\r\n\r\n" % len(body)
    await admin.send(b"POST /api/routes/a HTTP/1.1\r\n" + lines + body)
    assert (await admin.message()).status == 201


@pytest.mark.parametrize("twice", [b"Host: a\r\n", b"Content-Type: a\r\nContent-Type: TOPSECRET\r\n"])
async def test_fields_that_contradict_each_other_are_refused_here_too(admin: Peer, twice: bytes) -> None:
    await admin.send(b"GET /healthz HTTP/1.1\r\n" + HOST + twice + b"\r\n")
    _is_problem(await admin.message(), 400)
    assert await admin.ended()


@pytest.mark.parametrize("count", [1, 3])
async def test_who_has_said_all_behind_its_requests_is_answered(admin: Peer, count: int) -> None:
    """As `socat` and `nc -N` do."""
    await admin.send((b"GET /metrics HTTP/1.1\r\n" + HOST + b"\r\n") * count)
    admin.writer.write_eof()
    for _ in range(count):
        assert (await admin.message()).status == 200
    assert await admin.ended()


@pytest.mark.parametrize("said", [b"", b"GET /metrics HTTP/1.1\r\n"])
async def test_who_has_said_all_and_no_whole_request_is_let_go(admin: Peer, said: bytes) -> None:
    await admin.send(said)
    admin.writer.write_eof()
    assert await admin.ended()


async def test_who_leaves_a_stream_is_let_go(connect: Open) -> None:
    reader, writer = await connect()
    writer.write(ENDLESS)
    await asyncio.wait_for(reader.readuntil(b"on"), 5)
    writer.write_eof()
    assert await _is_cut(reader)


async def test_a_client_that_leaves_with_its_body_half_sent_is_no_fault(
    caplog: pytest.LogCaptureFixture,
) -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def read(request: web.Request) -> web.Response:
        begun.set()
        try:
            await request.read()
        finally:
            ended.set()
        raise AssertionError

    app = web.Application(middlewares=[problems])
    app.router.add_post("/", read)
    async with served(app) as peer, asyncio.timeout(5):
        await peer.send(b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 9\r\n\r\nhalf")
        await begun.wait()
        peer.writer.transport.abort()
        await ended.wait()
    assert caplog.records == []
