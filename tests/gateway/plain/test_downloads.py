"""Answers on their way: streaming, back-pressure, and ends that are no ends."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING

import pytest

from bascule.gateway.connections.legs import reset
from bascule.gateway.plain import response as plain_response
from tests.gateway.plain_support import (
    PATIENCE,
    Peer,
    World,
    answer,
    kernel_bytes,
    request_head,
    resident_bytes,
    until,
)
from tests.support.waiting import settled

if TYPE_CHECKING:
    from tests.gateway.plain_support import Front

MIB = 1024 * 1024


async def test_the_head_of_a_stream_arrives_before_its_first_event(world: World) -> None:
    go_on = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.message()
        await peer.send(answer(b"Content-Type: text/event-stream", b"Transfer-Encoding: chunked", body=None))
        await go_on.wait()
        await peer.send(b"5\r\nhello\r\n0\r\n\r\n")

    front = await world.front(await world.upstream(script))
    peer = await front.connect()
    await peer.send(request_head(b"/"))
    assert (await peer.head()).value(b"Content-Type") == b"text/event-stream"
    go_on.set()
    assert [part async for part in peer.chunks()] == [b"hello"]


async def test_each_event_is_passed_on_at_once(world: World) -> None:
    seen = asyncio.Semaphore(0)
    events = [b"data: %d\n\n" % number for number in range(50)]

    async def script(peer: Peer) -> None:
        await peer.message()
        await peer.send(answer(b"Transfer-Encoding: chunked", body=None))
        for event in events:
            await peer.send(b"%x\r\n%b\r\n" % (len(event), event))
            await seen.acquire()  # the next one is sent only when this one has arrived
        await peer.send(b"0\r\n\r\n")

    front = await world.front(await world.upstream(script))
    peer = await front.connect()
    await peer.send(request_head(b"/"))
    await peer.head()
    got = []
    async for part in peer.chunks():
        got.append(part)
        seen.release()
    assert got == events


@pytest.mark.parametrize("framed", [True, False])
async def test_a_large_download_is_whole_and_takes_no_memory(world: World, framed: bool) -> None:
    size = 64 * MIB
    block = bytes(range(256)) * 4096

    async def script(peer: Peer) -> None:
        await peer.message()
        length = b"Content-Length: %d" % size
        await peer.send(answer(b"Transfer-Encoding: chunked" if framed else length, body=None))
        for _ in range(size // len(block)):
            await peer.send(b"%x\r\n%b\r\n" % (len(block), block) if framed else block)
        await peer.send(b"0\r\n\r\n" if framed else b"")

    front = await world.front(await world.upstream(script))
    peer = await front.connect()
    before = resident_bytes()
    await peer.send(request_head(b"/"))
    await peer.head()
    total = 0
    if framed:
        async for part in peer.chunks():
            total += len(part)
    else:
        while total < size:
            total += len(await peer.exactly(min(len(block), size - total)))
    assert total == size
    assert resident_bytes() - before < 24 * MIB  # this process is all three: browser, proxy, upstream


async def test_a_browser_that_does_not_read_stops_the_upstream(world: World) -> None:
    sent = 0
    block = b"x" * 65536

    async def script(peer: Peer) -> None:
        nonlocal sent
        await peer.message()
        await peer.send(answer(b"Content-Length: %d" % (1024 * MIB), body=None))
        while True:
            await peer.send(block)
            sent += len(block)

    front = await world.front(await world.upstream(script))
    browser = socket.create_connection(("127.0.0.1", front.port))
    with browser:
        browser.sendall(request_head(b"/"))
        await settled(lambda: sent, PATIENCE)
        assert 0 < sent < kernel_bytes() + 8 * MIB
    async with asyncio.timeout(PATIENCE):
        await world.upstreams[0].gone.wait()


async def test_a_browser_that_does_not_read_for_too_long_is_cut(world: World) -> None:
    async def script(peer: Peer) -> None:
        await peer.message()
        await peer.send(answer(b"Content-Length: %d" % (1024 * MIB), body=None))
        while True:
            await peer.send(b"x" * 65536)

    front = await world.front(await world.upstream(script), limits={"sendTimeout": "0.3s"})
    with socket.create_connection(("127.0.0.1", front.port)) as browser:
        browser.sendall(request_head(b"/"))
        async with asyncio.timeout(PATIENCE):
            await world.upstreams[0].gone.wait()


async def test_a_browser_that_goes_away_ends_the_upstreams_exchange(world: World) -> None:
    async def script(peer: Peer) -> None:
        await peer.message()
        await peer.send(answer(b"Transfer-Encoding: chunked", body=None))
        assert await peer.ended()

    upstream = await world.upstream(script)
    front = await world.front(upstream)
    peer = await front.connect()
    await peer.send(request_head(b"/"))
    await peer.head()
    await peer.close()
    async with asyncio.timeout(PATIENCE):
        await upstream.gone.wait()


async def test_a_browser_that_goes_away_before_the_answer_ends_the_upstreams_exchange(world: World) -> None:
    async def script(peer: Peer) -> None:
        upstream.requests.append(await peer.message())
        assert await peer.ended()

    upstream = await world.upstream(script)
    front = await world.front(upstream)
    peer = await front.connect()
    await peer.send(request_head(b"/"))
    await until(lambda: bool(upstream.requests))
    await peer.close()
    async with asyncio.timeout(PATIENCE):
        await upstream.gone.wait()
    assert front.failures == 0


async def never_looks_complete(front: Front, seen: asyncio.Event, request: bytes) -> None:
    """Ask for an answer that breaks off once its ``hello`` is seen: one failure, and no end.

    Where the framing does not show that, the connection is reset.
    """
    peer = await front.connect()
    await peer.send(request)
    head = await peer.head()
    await peer.reader.readuntil(b"hello")
    seen.set()
    if head.values(b"Transfer-Encoding"):
        assert not (await peer.rest()).endswith(b"0\r\n\r\n")
    elif head.values(b"Content-Length"):
        assert await peer.rest() == b""
    else:
        with pytest.raises(ConnectionResetError):
            await peer.rest()
    assert front.failures == 1


@pytest.mark.parametrize("version", [b"HTTP/1.1", b"HTTP/1.0"])
@pytest.mark.parametrize(
    "lines", [[b"Content-Length: 100"], [b"Transfer-Encoding: chunked"]], ids=["length", "chunked"]
)
@pytest.mark.parametrize("end", ["reset", "close"])
async def test_a_truncated_answer_never_looks_complete(
    world: World, version: bytes, lines: list[bytes], end: str
) -> None:
    seen = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.message()
        await peer.send(
            answer(*lines, body=None) + (b"5\r\nhello\r\n" if b"chunked" in lines[0] else b"hello")
        )
        await seen.wait()
        if end == "reset":
            reset(peer.writer.transport)

    front = await world.front(await world.upstream(script))
    await never_looks_complete(front, seen, request_head(b"/", version=version))
    assert front.log.said("reason", "status", "detail") == [("broken_off", None, "the connection ended")]


@pytest.mark.parametrize(
    "lines", [b"Content-Length: 1000000", b"Transfer-Encoding: chunked"], ids=["length", "chunked"]
)
async def test_what_there_is_of_a_truncated_answer_reaches_who_reads_it_late(
    world: World, lines: bytes
) -> None:
    block = bytes(range(256)) * 256  # 64 KiB
    ended = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.message()
        await peer.send(answer(lines, body=None))
        for _ in range(4):
            await peer.send(b"%x\r\n%b\r\n" % (len(block), block) if b"chunked" in lines else block)
        ended.set()

    front = await world.front(await world.upstream(script))
    peer = await front.connect()
    peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
    await peer.send(request_head(b"/"))
    await asyncio.wait_for(ended.wait(), PATIENCE)
    await asyncio.sleep(0.2)  # so that it may be broken off, or waits for the browser: nothing tells which
    peer.writer.transport.resume_reading()  # type: ignore[attr-defined]
    await peer.head()
    if b"chunked" in lines:
        got = b""
        with contextlib.suppress(asyncio.IncompleteReadError):
            async for part in peer.chunks():
                got += part
    else:
        got = await peer.rest()
    assert got == block * 4
    assert front.failures == 1


async def test_who_does_not_take_a_truncated_answer_is_cut(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plain_response, "_LINGER", 0.1)

    async def script(peer: Peer) -> None:
        (connection,) = front.server.connections
        assert connection.transport is not None
        browsers = connection.transport.get_extra_info("socket")
        browsers.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        await peer.message()
        await peer.send(answer(b"Content-Length: 100000", body=None) + bytes(50_000))

    front = await world.front(await world.upstream(script))
    with socket.socket() as browser:
        browser.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        browser.connect(("127.0.0.1", front.port))
        browser.sendall(request_head(b"/"))
        await until(lambda: front.failures == 1)
        await until(lambda: not front.server.connections)


async def test_an_upload_does_not_keep_the_end_of_a_truncated_answer_back(world: World) -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(answer(b"Content-Length: 100", body=None) + b"half")

    front = await world.front(await world.upstream(script))
    peer = await front.connect()
    await peer.send(request_head(b"/", b"Content-Length: %d" % MIB, method=b"PUT"))
    await peer.head()
    async with asyncio.timeout(PATIENCE / 2):  # less than the rest of an upload is waited for
        assert await peer.rest() == b"half"


@pytest.mark.parametrize("version", [b"HTTP/1.1", b"HTTP/1.0"])
@pytest.mark.parametrize(
    "head", [b"HTTP/1.0 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n"], ids=["http10", "http11"]
)
async def test_an_answer_without_length_that_ends_with_a_reset_never_looks_complete(
    world: World, version: bytes, head: bytes
) -> None:
    seen = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.message()
        await peer.send(head + b"hello")
        await seen.wait()
        reset(peer.writer.transport)

    front = await world.front(await world.upstream(script))
    await never_looks_complete(front, seen, request_head(b"/", version=version))
    assert front.log.said("reason", "status", "detail") == [("broken_off", None, "the connection ended")]


async def test_an_answer_that_is_broken_before_its_head_went_out_is_502(world: World) -> None:
    async def script(peer: Peer) -> None:
        await peer.message()
        await peer.send(answer(b"Transfer-Encoding: chunked", body=None) + b"5\r\nhello\r\nnonsense\r\n")

    front = await world.front(await world.upstream(script))
    assert (await front.request(b"/")).status == 502
    assert front.failures == 1


@pytest.mark.parametrize("end", ["stays", "closes"])
@pytest.mark.parametrize("broken", [b"ZZ\r\n", b"5\r\nhelloX", b"0\r\nno field\r\n\r\n"])
async def test_an_answer_whose_framing_breaks_in_the_middle_never_looks_complete_nor_hangs(
    world: World, broken: bytes, end: str
) -> None:
    seen = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.message()
        await peer.send(answer(b"Transfer-Encoding: chunked", body=None) + b"5\r\nhello\r\n")
        await seen.wait()
        await peer.send(broken)
        if end == "stays":
            assert await peer.ended()

    front = await world.front(await world.upstream(script))
    await never_looks_complete(front, seen, request_head(b"/"))
    assert front.log.said("reason", "status", "detail") == [("broken_off", None, "not valid HTTP")]
