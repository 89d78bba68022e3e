"""Clients that send request after request and read no answers are bounded, and cut; slow readers are not."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
from aiohttp import web

from bascule.configuration.config import Config, Limits
from bascule.gateway.life import Life, Stage
from bascule.gateway.listening import admin as admin_listener
from bascule.gateway.listening.admin import AdminListener
from bascule.gateway.listening.http import HttpServer
from bascule.gateway.listening.listener import Listener
from tests.support.certificates import make_certificate
from tests.support.waiting import eventually_async

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator
    from pathlib import Path

    from bascule.gateway.connections.bounded import Bounded
    from bascule.gateway.listening.upgrade import UpgradeRequest


MOST = 3
SHORT = 0.4
"""Seconds for which a client may read nothing, where that is what is tested."""

ANSWER = b"x" * 1000
MANY = 1000
"""So many answers are more than a transport keeps (64 KiB), and the kernel, with its small buffers."""

REQUESTS = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * MANY + b"GET /last HTTP/1.1\r\nHost: a\r\n\r\n"

PART = b"y" * 65536
PARTS = 64
LARGE = b"GET /large HTTP/1.0\r\nHost: a\r\n\r\n"

MEDIUM = b"GET /medium HTTP/1.1\r\nHost: a\r\n\r\n"
REST = b"z" * 50_000
"""An answer that a transport keeps (64 KiB), and the kernel does not: it is written before it is taken."""


class Served:
    """A listener in this process.

    Attributes:
        idle: Its connections that ask for nothing.
        life: The gateway's life.
    """

    def __init__(
        self, server: web.Server, idle: Bounded, where: tuple[str, int], client: ssl.SSLContext | None
    ) -> None:
        self.idle = idle
        self.life = Life()
        self._server = server
        self._where = where
        self._client = client

    @property
    def open(self) -> int:
        """How many connections there are."""
        return len(self._server.connections)

    @contextlib.asynccontextmanager
    async def asked(self, requests: bytes = REQUESTS) -> AsyncIterator[asyncio.StreamReader]:
        """Have a client that asks for all at once, and reads as little as its caller."""
        with socket.socket() as raw:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            raw.setblocking(False)
            await asyncio.get_running_loop().sock_connect(raw, self._where)
            host = None if self._client is None else "localhost"
            reader, writer = await asyncio.open_connection(
                sock=raw, limit=4096, ssl=self._client, server_hostname=host
            )
            writer.write(requests)
            yield reader
            writer.transport.abort()


async def _answer(request: web.BaseRequest) -> web.StreamResponse:
    if request.path == "/large":
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(PARTS):
            await response.write(PART)
        return response
    if request.path == "/medium":
        return web.Response(body=REST)
    return web.Response(body=b"last" if request.path == "/last" else ANSWER)


async def _no_upgrade(request: UpgradeRequest) -> None:
    request.leg.close()


@pytest_asyncio.fixture(params=["public", "tls", "admin"])
async def served(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> AsyncIterator[Served]:
    """A public listener, another one with TLS, and an admin listener."""
    limits = Limits(
        max_idle_connections=MOST,
        send_timeout=SHORT if "impatient" in request.fixturenames else 60,
    )
    monkeypatch.setattr(admin_listener, "MOST_IDLE", MOST)
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4608)  # its connections have the same
    listening.bind(("127.0.0.1", 0))
    listening.listen()
    if request.param == "admin":
        app = web.Application()
        app.router.add_get("/{path:.*}", _answer)
        listener = AdminListener(app, Config(limits=limits))
        await listener.start(listening)
        server = listener._runner.server
        assert server is not None
        yield Served(server, listener.waiting.idle, listening.getsockname(), None)
        await listener.close()
        return
    certificate = make_certificate(tmp_path) if request.param == "tls" else None
    life = Life()
    config = Config(limits=limits)
    http = HttpServer(_answer, config, _no_upgrade, life)
    where = listening.getsockname()
    accepting = Listener(
        config, listening, http, _no_upgrade, None if certificate is None else certificate.server()
    )
    accepting.start()
    served = Served(http, http.waiting.idle, where, None if certificate is None else certificate.client())
    served.life = life
    yield served
    http.cut()
    accepting.close()
    await eventually_async(lambda: not served.open, 5, "all have ended")


async def test_of_too_many_who_read_nothing_those_who_came_first_are_dropped(served: Served) -> None:
    async with contextlib.AsyncExitStack() as clients:
        for _ in range(2 * MOST):
            await clients.enter_async_context(served.asked())
        await eventually_async(lambda: len(served.idle) == served.open == MOST, 20, "so many are left")


@pytest.fixture
def impatient() -> float:
    """Make the listener wait for a client that reads nothing only a short time."""
    return SHORT


@pytest.mark.usefixtures("impatient")
async def test_who_reads_nothing_for_too_long_is_cut(served: Served) -> None:
    async with served.asked():
        await eventually_async(lambda: served.open, 5, "it is there")
        await eventually_async(lambda: not served.open, 20 * SHORT, "it is cut")
        assert len(served.idle) == 0


@pytest.mark.usefixtures("impatient")
async def test_who_reads_slowly_gets_all_answers(served: Served) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with served.asked() as reader:
        assert (await _read_slowly(reader)).count(ANSWER) == MANY
    assert loop.time() - began > 3 * SHORT


@pytest.mark.usefixtures("impatient")
async def test_who_reads_nothing_of_a_large_answer_is_cut(served: Served) -> None:
    async with served.asked(LARGE):
        await eventually_async(lambda: served.open, 5, "it is there")
        await eventually_async(lambda: not served.open, 20 * SHORT, "it is cut")


@pytest.mark.usefixtures("impatient")
async def test_who_reads_a_large_answer_slowly_gets_the_whole(served: Served) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with served.asked(LARGE) as reader:
        await reader.readuntil(b"\r\n\r\n")
        got = 0
        while part := await reader.read(65536):
            got += len(part)
            await asyncio.sleep(SHORT / 20)  # it is slow
    assert got == PARTS * len(PART)
    assert loop.time() - began > 3 * SHORT


@pytest.mark.parametrize("served", ["public", "tls"], indirect=True)
async def test_who_has_answers_to_read_is_not_dropped_while_the_gateway_retires(served: Served) -> None:
    """Another gateway accepts connections then, so nobody needs its room."""
    for stage in (Stage.SERVING, Stage.RETIRING):
        served.life.go_on(stage)
    async with served.asked() as reader:
        await eventually_async(lambda: len(served.idle), 10, "it has answers to read")
        served.idle.shed(1)
        assert (await _read_slowly(reader)).count(ANSWER) == MANY


@contextlib.asynccontextmanager
async def _left(served: Served) -> AsyncIterator[asyncio.StreamReader]:
    """Have a client whose answer is written, and closed, by a gateway that retires."""
    for stage in (Stage.SERVING, Stage.RETIRING):
        served.life.go_on(stage)
    async with served.asked(MEDIUM) as reader:
        await eventually_async(lambda: len(served.idle), 10, "its answer is written")
        served.idle.shed(1)
        yield reader


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("served", ["public", "tls"], indirect=True)
async def test_who_takes_nothing_of_a_written_answer_keeps_no_gateway_that_retires(served: Served) -> None:
    async with _left(served):
        await eventually_async(lambda: not served.open, 20 * SHORT, "it is cut")


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("served", ["public", "tls"], indirect=True)
async def test_who_takes_a_written_answer_slowly_gets_the_whole_of_a_gateway_that_retires(
    served: Served,
) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with _left(served) as reader:
        await reader.readuntil(b"\r\n\r\n")
        got = 0
        while part := await reader.read(2048):
            got += len(part)
            await asyncio.sleep(SHORT / 6)  # it is slow
    assert got == len(REST)
    assert loop.time() - began > 3 * SHORT


async def _read_slowly(reader: asyncio.StreamReader) -> bytes:
    """Read up to the answer to the last request."""
    got = b""
    while not got.endswith(b"\r\n\r\nlast"):
        part = await reader.read(8192)
        assert part, "the connection ended"
        got += part
        # It is slow; but the client's own TLS reads in pieces of 192 KiB, which must not take it `SHORT`.
        await asyncio.sleep(SHORT / 40)
    return got
