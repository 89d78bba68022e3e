"""Raw peers for the tests of plain HTTP: what is on the wire is what is compared."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bascule.configuration.config import Config
from bascule.gateway.exchanges import STATUSES, ExchangeCount
from bascule.gateway.life import Life
from bascule.gateway.listening.http import HttpServer
from bascule.gateway.listening.listener import Listener
from bascule.gateway.plain.errors import PlainErrors
from bascule.gateway.plain.pools import UpstreamPools
from bascule.gateway.plain.proxy import PlainProxy
from bascule.gateway.plain.upstreams import PlainUpstreams
from bascule.gateway.upstreams.fence import Fence
from bascule.handover.counters import CounterFile, GatewayWord
from bascule.policy.requestrules import RequestRules
from bascule.policy.routes import RouteTable
from bascule.telemetry.accesslog import AccessLog
from tests.support.http import Fields, HasFields, read_fields
from tests.support.recorder import Recorder
from tests.support.waiting import eventually_async

if TYPE_CHECKING:
    from bascule.gateway.listening.upgrade import UpgradeRequest
    from bascule.policy.login import Login
    from bascule.policy.routes import Match

PATIENCE = 10.0
"""Seconds after which something that should happen never will."""


@dataclass
class Message(HasFields):
    """A request or an answer as it was on the wire."""

    start_line: bytes
    fields: Fields
    body: bytes = b""
    trailers: Fields = field(default_factory=list)

    @property
    def status(self) -> int:
        return int(self.start_line.split(b" ")[1])

    @property
    def target(self) -> bytes:
        return self.start_line.split(b" ")[1]


class Peer:
    """One end of a connection, read and written byte by byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await asyncio.wait_for(self.writer.drain(), PATIENCE)

    async def head(self) -> Message:
        """Read a head. Raises IncompleteReadError at the end of the connection."""
        raw = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), PATIENCE)
        start_line, *lines = raw[:-4].split(b"\r\n")
        return Message(start_line, read_fields(lines))

    async def message(self, *, bodiless: bool = False) -> Message:
        """Read a head and the body that its fields announce; an answer without length runs to the end."""
        message = await self.head()
        request = not message.start_line.startswith(b"HTTP/")
        if bodiless or (not request and (message.status < 200 or message.status in (204, 304))):
            return message
        length = message.value(b"Content-Length")
        if message.value(b"Transfer-Encoding") is not None:
            async for part in self.chunks(message):
                message.body += part
        elif length is not None:
            message.body = await self.exactly(int(length))
        elif not request:
            message.body = await self.rest()
        return message

    async def chunks(self, message: Message | None = None) -> AsyncIterator[bytes]:
        """Yield the chunks of a body as they were sent."""
        while True:
            size = int((await self.line()).partition(b";")[0], 16)
            if size == 0:
                break
            part = await self.exactly(size + 2)
            assert part.endswith(b"\r\n")
            yield part[:-2]
        while line := await self.line():
            if message is not None:
                message.trailers += read_fields([line])

    async def line(self) -> bytes:
        return (await asyncio.wait_for(self.reader.readuntil(b"\r\n"), PATIENCE))[:-2]

    async def exactly(self, size: int) -> bytes:
        return await asyncio.wait_for(self.reader.readexactly(size), PATIENCE)

    async def rest(self) -> bytes:
        return await asyncio.wait_for(self.reader.read(-1), PATIENCE)

    async def ended(self) -> bool:
        """Wait for the other side's clean end; False if it sends something instead."""
        return await asyncio.wait_for(self.reader.read(1), PATIENCE) == b""

    async def request(self, target: bytes, *lines: bytes, method: bytes = b"GET") -> Message:
        """Send a request without a body and read the answer."""
        await self.send(request_head(target, *lines, method=method))
        return await self.message(bodiless=method == b"HEAD")

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(OSError):
            await asyncio.wait_for(self.writer.wait_closed(), PATIENCE)


def request_head(
    target: bytes, *lines: bytes, method: bytes = b"GET", version: bytes = b"HTTP/1.1", host: bytes = b"front"
) -> bytes:
    return b"\r\n".join([b"%b %b %b" % (method, target, version), b"Host: " + host, *lines, b"", b""])


def answer(*lines: bytes, status: bytes = b"200 OK", body: bytes | None = b"") -> bytes:
    """An answer with Content-Length; none with ``body=None``."""
    length = [] if body is None else [b"Content-Length: %d" % len(body)]
    return b"\r\n".join([b"HTTP/1.1 " + status, *lines, *length, b"", body or b""])


Script = Callable[[Peer], Awaitable[None]]


class Upstream:
    """A server that does on each connection what the test says."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.connections = 0
        self.requests: list[Message] = []
        self.errors: list[BaseException] = []
        self.port = 0
        self.gone = asyncio.Event()
        """Set when a connection has ended, from whichever side."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        peer = Peer(reader, writer)
        try:
            await self.script(peer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        except BaseException as error:
            self.errors.append(error)
        finally:
            self.gone.set()
            writer.close()


@dataclass
class Front:
    """A proxy in front of upstreams."""

    proxy: PlainProxy
    life: Life
    port: int
    words: memoryview
    log: Recorder
    server: HttpServer
    stack: contextlib.AsyncExitStack

    async def connect(self) -> Peer:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=2**20)
        peer = Peer(reader, writer)
        self.stack.push_async_callback(peer.close)
        return peer

    async def request(self, target: bytes, *lines: bytes, method: bytes = b"GET") -> Message:
        return await (await self.connect()).request(target, *lines, method=method)

    @property
    def requests(self) -> int:
        return int(self.words[GatewayWord.HTTP_REQUESTS])

    @property
    def failures(self) -> int:
        return int(self.words[GatewayWord.HTTP_UPSTREAM_FAILURES])

    @property
    def responses(self) -> dict[str, int]:
        return {status: int(self.words[word]) for status, word in STATUSES.items()}

    @property
    def in_flight(self) -> int:
        return int(self.words[GatewayWord.HTTP_IN_FLIGHT])

    @property
    def refused(self) -> int:
        return int(self.words[GatewayWord.HTTP_REFUSED])


def no_credentials(cookies: list[bytes], match: Match) -> Login:
    """Stand where credentials are checked, for tests none of whose routes asks for any."""
    raise AssertionError(match)


class World:
    """Starts upstreams and proxies that end with the test."""

    def __init__(self, stack: contextlib.AsyncExitStack) -> None:
        self.stack = stack
        self.upstreams: list[Upstream] = []

    async def upstream(self, script: Script, tls: ssl.SSLContext | None = None) -> Upstream:
        upstream = Upstream(script)
        server = await asyncio.start_server(upstream.serve, "127.0.0.1", 0, limit=2**20, ssl=tls)
        self.stack.callback(server.close)
        upstream.port = server.sockets[0].getsockname()[1]
        self.upstreams.append(upstream)
        return upstream

    async def unix_upstream(self, script: Script, path: str) -> Upstream:
        """Start one at a Unix socket."""
        upstream = Upstream(script)
        server = await asyncio.start_unix_server(upstream.serve, path, limit=2**20)
        self.stack.callback(server.close)
        self.upstreams.append(upstream)
        return upstream

    async def repeating(self, data: bytes) -> Upstream:
        """An upstream that answers each request of each connection with the same bytes."""

        async def script(peer: Peer) -> None:
            while True:
                upstream.requests.append(await peer.message())
                await peer.send(data)

        upstream = await self.upstream(script)
        return upstream

    async def front(
        self,
        upstream: Upstream | int,
        *,
        authorise: Callable[[list[bytes], Match], Login] = no_credentials,
        tls: ssl.SSLContext | None = None,
        upstream_host: str = "127.0.0.1",
        upstream_url: str | None = None,
        limits: dict[str, Any] | None = None,
        trusted: list[str] | None = None,
        own: Iterable[int] = (),
        **route: Any,
    ) -> Front:
        port = upstream if isinstance(upstream, int) else upstream.port
        scheme = "http" if tls is None else "https"
        url = upstream_url or f"{scheme}://{upstream_host}:{port}"
        config = Config.model_validate(
            {
                "routes": [{"name": "r", "path": "/", "upstream": url, **route}],
                "limits": limits or {},
                "trustedProxies": trusted or [],
                "auth": {"session": {"keyFile": "/nonexistent"}},  # credentials are checked by the test
            }
        )
        words = CounterFile.create(1).gateway(0)
        log = Recorder()
        life = Life()
        rules = RequestRules(config, RouteTable(config.routes), authorise, b"bascule-%05d" % port)
        access_log, exchanges = (
            AccessLog(log, debugs=True),
            ExchangeCount(config.limits.max_http_requests, words),
        )
        tls = tls or ssl.create_default_context()
        pools = UpstreamPools(config.limits.connect_timeout, tls, Fence(own))
        await pools.start()
        self.stack.push_async_callback(pools.close)
        errors = PlainErrors(words, access_log, exchanges, pools, hub_pages=None)
        patience = config.limits.http_upstream_timeout
        proxy = PlainProxy(
            config=config, rules=rules, words=words, access_log=access_log, exchanges=exchanges, life=life,
            upstreams=PlainUpstreams(pools, errors, patience, None, access_log), errors=errors,
        )  # fmt: skip
        server = HttpServer(proxy.handle, config, no_upgrade, life)
        listening = socket.create_server(("127.0.0.1", 0))
        port = listening.getsockname()[1]
        listener = Listener(config, listening, server, no_upgrade)
        listener.start()
        self.stack.callback(listener.close)
        self.stack.push_async_callback(server.shutdown, 0.1)
        return Front(proxy, life, port, words, log, server, self.stack)


async def no_upgrade(request: UpgradeRequest) -> None:
    """Stand where admission does; no test of plain HTTP gets here."""
    request.leg.close()
    raise AssertionError(request.head)


@contextlib.asynccontextmanager
async def new_world() -> AsyncIterator[World]:
    async with contextlib.AsyncExitStack() as stack:
        world = World(stack)
        yield world
        errors = [error for upstream in world.upstreams for error in upstream.errors]
    if errors:
        raise ExceptionGroup("in upstreams", [error for error in errors if isinstance(error, Exception)])


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition that no event tells, with a deadline."""
    await eventually_async(condition, PATIENCE, "the condition holds", tick=0.005)


def resident_bytes() -> int:
    """Return how much memory this process has in use."""
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize()


def kernel_bytes() -> int:
    """Return what this kernel may hold on the way through a proxy, at each end of two connections."""
    most = 0
    for direction in ("rmem", "wmem"):
        with open(f"/proc/sys/net/ipv4/tcp_{direction}") as limits:
            most += 2 * int(limits.read().split()[2])
    return most
