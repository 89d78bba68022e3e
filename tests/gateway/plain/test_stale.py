"""Which requests are sent again when a kept connection turned out to be closed, and which never are."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from typing import TYPE_CHECKING, Any

import pytest

from bascule.gateway.connections.legs import reset
from bascule.gateway.plain import upload as plain_upload
from bascule.gateway.plain.client import upstream_session
from bascule.gateway.plain.connection import UpstreamConnection
from tests.gateway.plain_support import PATIENCE, Peer, World, answer, request_head

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.gateway.plain_support import Message


async def stale_upstream(world: World) -> None:
    """An upstream that resets each kept-alive connection when the second request arrives on it."""

    async def script(peer: Peer) -> None:
        upstream.requests.append(await peer.message())
        await peer.send(answer())
        upstream.requests.append(await peer.message())
        peer.writer.transport.abort()

    upstream = await world.upstream(script)


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"PUT", b"DELETE", b"OPTIONS"])
async def test_an_idempotent_request_without_body_is_repeated_on_a_stale_connection(
    world: World, method: bytes
) -> None:
    await stale_upstream(world)
    front = await world.front(world.upstreams[0])
    assert (await front.request(b"/first")).status == 200
    assert (await front.request(b"/second", method=method)).status == 200
    assert world.upstreams[0].connections == 2


async def test_a_request_is_repeated_on_a_new_connection_though_others_are_kept(world: World) -> None:
    both = asyncio.Event()

    async def script(peer: Peer) -> None:
        upstream.requests.append(await peer.message())
        if upstream.connections == 2:
            both.set()
        async with asyncio.timeout(PATIENCE):
            await both.wait()
        await peer.send(answer())
        upstream.requests.append(await peer.message())
        peer.writer.transport.abort()

    upstream = await world.upstream(script)
    front = await world.front(upstream)
    first = await asyncio.gather(front.request(b"/first"), front.request(b"/first"))
    assert [got.status for got in first] == [200, 200]

    assert (await front.request(b"/second")).status == 200
    assert [request.target for request in upstream.requests] == [b"/first"] * 2 + [b"/second"] * 2
    assert upstream.connections == 3


@pytest.mark.parametrize(
    ("method", "body"), [(b"POST", b""), (b"PATCH", b""), (b"POST", b"x"), (b"PUT", b"x"), (b"DELETE", b"x")]
)
async def test_no_other_request_is_ever_sent_twice(world: World, method: bytes, body: bytes) -> None:
    await stale_upstream(world)
    front = await world.front(world.upstreams[0])
    await front.request(b"/first")
    peer = await front.connect()
    await peer.send(request_head(b"/second", b"Content-Length: %d" % len(body), method=method) + body)
    assert (await peer.message()).status == 502
    targets = [request.target for request in world.upstreams[0].requests]
    assert targets == [b"/first", b"/second"]


async def test_a_connection_is_known_to_be_stale_though_its_last_answer_is_still_being_read(
    world: World,
) -> None:
    asked, read = asyncio.Event(), asyncio.Event()

    async def script(peer: Peer) -> None:
        upstream.requests.append(await peer.message())
        await peer.send(answer(body=b"x"))
        upstream.requests.append(await peer.message())
        asked.set()
        await read.wait()
        peer.writer.transport.abort()

    upstream = await world.upstream(script)
    url = f"http://127.0.0.1:{upstream.port}/"
    async with upstream_session(PATIENCE, ssl.create_default_context()) as session:
        first = await session.get(url)
        second = asyncio.create_task(session.get(url))
        async with asyncio.timeout(PATIENCE):
            await asked.wait()
        assert await first.read() == b"x"
        read.set()
        assert (await second).status == 200
    assert upstream.connections == 2


@pytest.mark.parametrize("end", ["close", "reset"])
@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"PUT", b"DELETE", b"OPTIONS"])
async def test_no_request_is_repeated_when_its_connection_was_fresh(
    world: World, method: bytes, end: str
) -> None:
    async def script(peer: Peer) -> None:
        upstream.requests.append(await peer.message())
        if end == "reset":
            reset(peer.writer.transport)

    upstream = await world.upstream(script)
    front = await world.front(upstream)
    assert (await front.request(b"/", method=method)).status == 502
    assert len(upstream.requests) == 1
    detail = "the connection ended" + (": ECONNRESET" if end == "reset" else "")
    assert front.log.said("reason", "status", "detail") == [("unreachable", 502, detail)]


@pytest.mark.parametrize("beginning", [b"H", b"HTTP/1.1 100 Continue\r\n\r\n"], ids=["half", "interim"])
async def test_no_request_is_repeated_once_an_answer_has_begun(world: World, beginning: bytes) -> None:
    async def script(peer: Peer) -> None:
        upstream.requests.append(await peer.message())
        await peer.send(answer())
        upstream.requests.append(await peer.message())
        await peer.send(beginning)

    upstream = await world.upstream(script)
    front = await world.front(upstream)
    assert (await front.request(b"/first")).status == 200
    assert (await front.request(b"/second")).status == 502
    assert [request.target for request in upstream.requests] == [b"/first", b"/second"]


async def test_a_request_is_repeated_once_at_most(world: World) -> None:
    async def script(peer: Peer) -> None:
        upstream.requests.append(await peer.message())
        if upstream.connections == 1:
            await peer.send(answer())
            upstream.requests.append(await peer.message())

    upstream = await world.upstream(script)
    front = await world.front(upstream)
    assert (await front.request(b"/first")).status == 200
    assert (await front.request(b"/second")).status == 502
    assert [request.target for request in upstream.requests] == [b"/first", b"/second", b"/second"]


async def test_a_connection_the_upstream_closed_is_not_used_again(world: World) -> None:
    async def script(peer: Peer) -> None:
        await peer.message()
        await peer.send(answer(body=b"ok"))

    upstream = await world.upstream(script)
    front = await world.front(upstream)
    for _ in range(3):
        peer = await front.connect()
        await peer.send(request_head(b"/", b"Content-Length: 0", method=b"POST"))
        assert (await peer.message()).body == b"ok"
        await asyncio.wait_for(upstream.gone.wait(), PATIENCE)
        upstream.gone.clear()


# -- an upstream that ends a kept connection in the moment in which it is used again -----------------------


class Ending:
    """An upstream that ends its first connection in the very moment in which a second request is sent on it.

    Attributes:
        how: ``end``, or ``reset``.
        heard: Of each request: its connection's number, and all that came.
    """

    def __init__(self, held: pytest.MonkeyPatch) -> None:
        self.how = "end"
        self.heard: list[tuple[int, bytes]] = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.setblocking(False)
        self.port: int = self.listener.getsockname()[1]
        self._connections: list[socket.socket] = []
        self._uses = 0
        expect = UpstreamConnection.set_response_params

        def end_and_expect(connection: UpstreamConnection, **params: Any) -> None:
            self._uses += 1
            if self._uses == 2:
                self._end(self._connections[0])
            expect(connection, **params)

        held.setattr(UpstreamConnection, "set_response_params", end_and_expect)

    def _end(self, connection: socket.socket) -> None:
        if self.how == "reset":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()

    async def serve(self) -> None:
        """Answer the first request on each of two connections."""
        loop = asyncio.get_running_loop()
        for number in range(2):
            connection, _ = await loop.sock_accept(self.listener)
            self._connections.append(connection)
            data = b""
            while not data.endswith((b"\r\n\r\n", b"body")):
                data += await loop.sock_recv(connection, 65536)
            self.heard.append((number, data))
            await loop.sock_sendall(connection, answer(body=b"ok"))

    def close(self) -> None:
        """Close everything."""
        for each in (self.listener, *self._connections):
            each.close()


@pytest.fixture
def ending(monkeypatch: pytest.MonkeyPatch) -> Iterator[Ending]:
    """Make one."""
    made = Ending(monkeypatch)
    yield made
    made.close()


async def asking_twice(world: World, ending: Ending, method: bytes, body: bytes) -> Message:
    """Send a GET, and then something else; return the answer to that."""
    serving = asyncio.create_task(ending.serve())
    front = await world.front(ending.port)
    assert (await front.request(b"/first")).status == 200
    peer = await front.connect()
    await peer.send(request_head(b"/second", b"Content-Length: %d" % len(body), method=method) + body)
    got = await peer.message()
    serving.cancel()
    return got


@pytest.mark.parametrize(
    ("method", "body"),
    [(b"GET", b""), (b"POST", b""), (b"POST", b"a body"), (b"PATCH", b"a body"), (b"PUT", b"a body")],
)
async def test_any_request_of_which_the_upstream_has_taken_nothing_is_sent_again(
    world: World, ending: Ending, method: bytes, body: bytes
) -> None:
    assert (await asking_twice(world, ending, method, body)).status == 200
    assert [number for number, _ in ending.heard] == [0, 1]
    assert ending.heard[1][1].startswith(method + b" /second")
    assert ending.heard[1][1].endswith(body or b"\r\n\r\n")


async def test_one_with_too_long_a_body_is_not(
    monkeypatch: pytest.MonkeyPatch, world: World, ending: Ending
) -> None:
    monkeypatch.setattr(plain_upload, "_MOST_KEPT", 5)
    assert (await asking_twice(world, ending, b"POST", b"a body")).status == 502


async def test_behind_a_reset_the_upstream_may_have_taken_it_and_no_post_is_sent_again(
    world: World, ending: Ending
) -> None:
    ending.how = "reset"
    assert (await asking_twice(world, ending, b"POST", b"a body")).status == 502


async def test_a_connection_that_has_ended_is_not_used_though_the_loop_has_not_looked_yet() -> None:
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"

        async def serve() -> socket.socket:
            connection, _ = await loop.sock_accept(listener)
            await loop.sock_recv(connection, 65536)
            await loop.sock_sendall(connection, answer(body=b"ok"))
            return connection

        async with upstream_session(PATIENCE, ssl.create_default_context()) as session:
            for _ in range(2):
                serving = asyncio.create_task(serve())
                async with session.post(url) as said:
                    assert await said.read() == b"ok"
                (await serving).close()  # and at once the next request
