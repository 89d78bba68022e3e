"""Bodies on their way: streaming, back-pressure, invitations, early answers, and ends that are no ends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import socket
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from bascule.gateway import plain_response, plain_upload
from bascule.gateway.legs import reset
from bascule.gateway.plain_server import PlainProtocol
from tests.gateway.plain_support import PATIENCE, Peer, World, answer, new_world, request_head, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.gateway.plain_support import Front

MIB = 1024 * 1024


@pytest_asyncio.fixture
async def world() -> AsyncIterator[World]:
    async with new_world() as world:
        yield world


def resident_bytes() -> int:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize()


# -- downloads --------------------------------------------------------------------------------------------


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
        await _settled(lambda: sent)
        assert 0 < sent < 32 * MIB
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


async def _settled(value: object) -> None:
    """Wait until a figure has stopped to change for 0.3 s."""
    assert callable(value)
    last, since = value(), asyncio.get_running_loop().time()
    while asyncio.get_running_loop().time() - since < 0.3:
        await asyncio.sleep(0.02)
        if value() != last or not last:
            last, since = value(), asyncio.get_running_loop().time()


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


# -- uploads ----------------------------------------------------------------------------------------------


async def test_an_upload_keeps_its_length(world: World) -> None:
    upstream = await world.repeating(answer())
    front = await world.front(upstream)
    peer = await front.connect()
    for body in (b"", b"x" * 5, b"y" * 300_000):
        await peer.send(request_head(b"/", b"Content-Length: %d" % len(body), method=b"PUT") + body)
        assert (await peer.message()).status == 200
        assert upstream.requests[-1].body == body
        assert upstream.requests[-1].value(b"Content-Length") == b"%d" % len(body)
        assert upstream.requests[-1].value(b"Transfer-Encoding") is None
        assert upstream.requests[-1].value(b"Content-Type") is None
    assert upstream.connections == 1


async def test_an_upload_without_length_stays_chunked_and_loses_its_trailers(world: World) -> None:
    upstream = await world.repeating(answer())
    front = await world.front(upstream)
    for _ in range(2):
        peer = await front.connect()
        chunked = b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nX-Admin: 1\r\nCookie: evil=1\r\n\r\n"
        await peer.send(request_head(b"/", b"Transfer-Encoding: chunked", method=b"POST") + chunked)
        assert (await peer.message()).status == 200
        sent = upstream.requests[-1]
        assert (sent.body, sent.trailers) == (b"abcde", [])
        assert sent.values(b"Transfer-Encoding") == [b"chunked"]
        assert sent.values(b"Content-Length") == []
        assert sent.values(b"X-Admin") == []
        assert sent.values(b"Cookie") == []


async def test_a_trailer_never_becomes_a_field_of_the_next_request(world: World) -> None:
    upstream = await world.repeating(answer())
    front = await world.front(upstream)
    peer = await front.connect()
    chunked = (
        request_head(b"/one", b"Transfer-Encoding: chunked", method=b"POST") + b"0\r\nX-User: admin\r\n\r\n"
    )
    await peer.send(chunked + request_head(b"/two"))
    assert (await peer.message()).value(b"Connection") == b"close"
    assert await peer.ended()
    assert [request.target for request in upstream.requests] == [b"/one"]


CHUNKED = b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
async def test_a_connection_goes_on_behind_chunks_whose_end_is_plain(world: World, size: int) -> None:
    upstream = await world.repeating(answer())
    front = await world.front(upstream)
    peer = await front.connect()
    for _ in range(3):
        sent = request_head(b"/one", b"Transfer-Encoding: chunked", method=b"POST") + CHUNKED
        for begin in range(0, len(sent), size):
            await peer.send(sent[begin : begin + size])
            await asyncio.sleep(0)
        got = await peer.message()
        assert (got.status, got.value(b"Connection")) == (200, None)
        assert upstream.requests[-1].body == b"abcde"
    assert (await peer.request(b"/two")).status == 200
    assert [request.target for request in upstream.requests] == [b"/one"] * 3 + [b"/two"]
    assert [field[0].lower() for field in upstream.requests[-1].fields].count(b"host") == 1


async def test_requests_behind_chunks_in_one_packet_are_answered_in_turn(world: World) -> None:
    upstream = await world.repeating(answer())
    front = await world.front(upstream)
    peer = await front.connect()
    chunked = request_head(b"/one", b"Transfer-Encoding: chunked", method=b"POST") + CHUNKED
    await peer.send(chunked + request_head(b"/two") + request_head(b"/three"))
    for _ in range(3):
        assert (await peer.message()).status == 200
    assert [request.target for request in upstream.requests] == [b"/one", b"/two", b"/three"]


@pytest.mark.parametrize(
    "chunks",
    [
        CHUNKED.replace(b"3\r", b"3;a=b\r"),
        CHUNKED.replace(b"0\r\n", b"0;a\r\n"),
        CHUNKED[:-2] + b"X-User: admin\r\n\r\n",
        # What looks like a plain end is one of another request's, whose beginning is behind a trailer.
        (
            b"0\r\nX-User: admin\r\n\r\n"
            b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        ),
    ],
)
async def test_a_connection_ends_behind_chunks_that_may_be_read_in_two_ways(
    world: World, chunks: bytes
) -> None:
    upstream = await world.repeating(answer())
    front = await world.front(upstream)
    peer = await front.connect()
    await peer.send(request_head(b"/one", b"Transfer-Encoding: chunked", method=b"POST") + chunks)
    got = await peer.message()
    assert (got.status, got.value(b"Connection")) == (200, b"close")
    assert await peer.ended()
    assert [request.target for request in upstream.requests] == [b"/one"]


async def test_a_forged_head_in_a_chunk_is_data(world: World) -> None:
    upstream = await world.repeating(answer())
    front = await world.front(upstream)
    peer = await front.connect()
    forged = b"\r\n0\r\n\r\n" + request_head(b"/forged")
    chunks = b"%x\r\n%b\r\n0\r\n\r\n" % (len(forged), forged)
    await peer.send(request_head(b"/one", b"Transfer-Encoding: chunked", method=b"POST") + chunks)
    assert (await peer.message()).status == 200
    assert (await peer.request(b"/two")).status == 200
    assert [request.target for request in upstream.requests] == [b"/one", b"/two"]
    assert upstream.requests[0].body == forged


async def test_a_compressed_upload_is_not_touched(world: World) -> None:
    upstream = await world.repeating(answer())
    front = await world.front(upstream)
    peer = await front.connect()
    lines = (b"Content-Encoding: gzip", b"Content-Length: 9")
    await peer.send(request_head(b"/", *lines, method=b"POST") + b"\x1f\x8b no zip")
    assert (await peer.message()).status == 200
    assert upstream.requests[0].body == b"\x1f\x8b no zip"
    assert upstream.requests[0].value(b"Content-Encoding") == b"gzip"


@pytest.mark.parametrize("method", [b"GET", b"DELETE", b"OPTIONS", b"PATCH"])
async def test_any_method_may_have_a_body(world: World, method: bytes) -> None:
    upstream = await world.repeating(answer())
    front = await world.front(upstream)
    peer = await front.connect()
    await peer.send(request_head(b"/", b"Content-Length: 3", method=method) + b"abc")
    assert (await peer.message()).status == 200
    assert upstream.requests[0].start_line.startswith(method + b" ")
    assert upstream.requests[0].body == b"abc"


async def test_a_large_upload_is_whole_and_takes_no_memory(world: World) -> None:
    size = 64 * MIB
    block = bytes(range(256)) * 4096

    async def script(peer: Peer) -> None:
        await peer.head()
        for _ in range(size // len(block)):
            assert await peer.exactly(len(block)) == block
        await peer.send(answer(body=b"all"))

    front = await world.front(await world.upstream(script))
    peer = await front.connect()
    before = resident_bytes()
    await peer.send(request_head(b"/", b"Content-Length: %d" % size, method=b"PUT"))
    for _ in range(size // len(block)):
        await peer.send(block)
    assert (await peer.message()).body == b"all"
    assert resident_bytes() - before < 24 * MIB


async def test_an_upstream_that_does_not_read_stops_the_browser(world: World) -> None:
    sent = 0

    async def script(peer: Peer) -> None:
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await done.wait()

    done = asyncio.Event()
    front = await world.front(await world.upstream(script))
    peer = await front.connect()

    async def upload() -> None:
        nonlocal sent
        peer.writer.write(request_head(b"/", b"Content-Length: %d" % (1024 * MIB), method=b"PUT"))
        while True:
            peer.writer.write(b"x" * 65536)
            await peer.writer.drain()
            sent += 65536

    task = asyncio.create_task(upload())
    await _settled(lambda: sent)
    assert 0 < sent < 32 * MIB
    task.cancel()
    done.set()


async def test_a_browser_that_dies_while_uploading_leaves_a_broken_request(world: World) -> None:
    got: list[bytes] = []

    async def script(peer: Peer) -> None:
        await peer.head()
        async for part in peer.chunks():
            got.append(part)  # noqa: PERF401 (what came before the end is compared)
        got.append(b"END")

    upstream = await world.upstream(script)
    front = await world.front(upstream)
    peer = await front.connect()
    await peer.send(request_head(b"/", b"Transfer-Encoding: chunked", method=b"POST") + b"3\r\nabc\r\n")
    await until(lambda: got == [b"abc"])
    await peer.close()
    async with asyncio.timeout(PATIENCE):
        await upstream.gone.wait()
    assert got == [b"abc"]


async def test_an_upload_that_is_not_valid_is_the_browsers_fault(world: World) -> None:
    async def script(peer: Peer) -> None:
        await peer.message()

    front = await world.front(await world.upstream(script))
    peer = await front.connect()
    await peer.send(request_head(b"/", b"Transfer-Encoding: chunked", method=b"POST") + b"3\r\nabc\r\n")
    await until(lambda: world.upstreams[0].connections == 1)
    await peer.send(b"nonsense\r\n\r\n")
    assert (await peer.message()).status == 400
    assert await peer.ended()
    assert front.failures == 0


# -- early answers ----------------------------------------------------------------------------------------


async def test_an_answer_may_come_while_the_upload_still_runs(world: World) -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(answer(status=b"413 Content Too Large", body=b"too large"))
        await peer.rest()

    front = await world.front(await world.upstream(script))
    peer = await front.connect()
    await peer.send(request_head(b"/", b"Content-Length: %d" % (100 * MIB), method=b"PUT") + b"x" * 1000)
    got = await peer.message()
    assert (got.status, got.body) == (413, b"too large")
    assert got.value(b"Connection") == b"close"
    async with asyncio.timeout(PATIENCE):
        await world.upstreams[0].gone.wait()
    assert front.failures == 0


async def test_the_rest_of_an_unwanted_body_is_never_a_request(world: World) -> None:
    upstream = await world.repeating(answer())
    front = await world.front(upstream, path="/lab/")
    peer = await front.connect()
    body = request_head(b"/lab/smuggled", b"Connection: Upgrade", b"Upgrade: websocket")
    await peer.send(request_head(b"/nowhere", b"Content-Length: %d" % len(body), method=b"POST"))
    assert (await peer.message()).status == 404
    (protocol,) = front.server.connections
    assert isinstance(protocol, PlainProtocol)
    assert not protocol.expects_head
    await peer.send(body[:20])
    await peer.send(body[20:])
    assert await peer.ended()
    assert front.requests == 1
    assert upstream.connections == 0


async def test_a_connection_expects_a_head_between_requests_only(world: World) -> None:
    go_on = asyncio.Event()

    async def script(peer: Peer) -> None:
        for _ in range(2):
            upstream.requests.append(await peer.message())
            await go_on.wait()
            go_on.clear()
            await peer.send(answer())

    upstream = await world.upstream(script)
    front = await world.front(upstream)
    peer = await front.connect()
    for number in range(2):
        await peer.send(request_head(b"/", b"Content-Length: 3", method=b"PUT") + b"abc")
        await until(lambda number=number: len(upstream.requests) > number)  # type: ignore[misc]
        (protocol,) = front.server.connections
        assert isinstance(protocol, PlainProtocol)
        assert not protocol.expects_head
        go_on.set()
        assert (await peer.message()).status == 200
        await until(lambda: protocol.expects_head)  # noqa: B023


async def test_upload_and_answer_may_run_at_the_same_time(world: World) -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(answer(b"Transfer-Encoding: chunked", body=None))
        async for part in peer.chunks():
            await peer.send(b"%x\r\n%b\r\n" % (len(part), part.upper()))
        await peer.send(b"0\r\n\r\n")

    front = await world.front(await world.upstream(script))
    peer = await front.connect()
    await peer.send(request_head(b"/", b"Transfer-Encoding: chunked", method=b"POST"))
    await peer.head()
    echo = peer.chunks()
    for word in (b"one", b"two", b"three"):
        await peer.send(b"%x\r\n%b\r\n" % (len(word), word))
        assert await anext(echo) == word.upper()
    await peer.send(b"0\r\n\r\n")
    assert [part async for part in echo] == []


# -- Expect: 100-continue ---------------------------------------------------------------------------------

EXPECT = b"Expect: 100-continue"


async def test_the_upstream_invites_the_body(world: World) -> None:
    invited = asyncio.Event()

    async def script(peer: Peer) -> None:
        head = await peer.head()
        assert head.value(b"Expect") == b"100-continue"
        await invited.wait()
        await peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = await peer.exactly(5)
        await peer.send(answer(body=body.upper()))

    front = await world.front(await world.upstream(script))
    peer = await front.connect()
    await peer.send(request_head(b"/", EXPECT, b"Content-Length: 5", method=b"PUT"))
    await until(lambda: world.upstreams[0].connections == 1)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(peer.reader.read(1), 0.1)
    invited.set()
    assert (await peer.head()).start_line == b"HTTP/1.1 100 Continue"
    await peer.send(b"hello")
    got = await peer.message()
    assert (got.status, got.body, got.value(b"Connection")) == (200, b"HELLO", None)


@pytest.fixture
def endless_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a browser that keeps its body back do so for ever."""
    monkeypatch.setattr(plain_upload, "_INVITATION", 10 * PATIENCE)


@pytest.mark.usefixtures("endless_wait")
@pytest.mark.parametrize("early", [b"hello", b"he"], ids=["all", "a part"])
async def test_a_body_that_is_there_is_not_held_back(world: World, early: bytes) -> None:
    upstream = await world.repeating(answer(body=b"ok"))  # which knows no expectations
    front = await world.front(upstream)
    peer = await front.connect()
    await peer.send(request_head(b"/", EXPECT, b"Content-Length: 5", method=b"PUT") + early)
    await peer.send(b"hello"[len(early) :])
    assert (await peer.message()).body == b"ok"
    assert upstream.requests[0].body == b"hello"


@pytest.mark.usefixtures("endless_wait")
async def test_a_body_that_comes_without_an_invitation_is_not_held_back(world: World) -> None:
    arrived = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.head()
        arrived.set()
        await peer.send(answer(body=await peer.exactly(5)))

    front = await world.front(await world.upstream(script))
    peer = await front.connect()
    await peer.send(request_head(b"/", EXPECT, b"Content-Length: 5", method=b"PUT"))
    await asyncio.wait_for(arrived.wait(), PATIENCE)
    await peer.send(b"hello")
    assert (await peer.message()).body == b"hello"


@pytest.mark.usefixtures("endless_wait")
async def test_a_browser_that_was_invited_and_sends_nothing_is_408(world: World) -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(b"HTTP/1.1 100 Continue\r\n\r\n" * 2)
        assert await peer.ended()

    front = await world.front(await world.upstream(script), limits={"httpUpstreamTimeout": 0.3})
    peer = await front.connect()
    await peer.send(request_head(b"/", EXPECT, b"Content-Length: 5", method=b"PUT"))
    assert (await peer.head()).status == 100
    assert (await peer.message()).status == 408


async def test_an_upstream_that_speaks_http11_again_is_asked_again(world: World) -> None:
    async def script(peer: Peer) -> None:
        upstream.requests.append(await peer.head())
        if upstream.requests[-1].value(b"Expect"):
            await peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")
            await peer.exactly(5)
        version = b"HTTP/1.0" if upstream.connections == 1 else b"HTTP/1.1"
        await peer.send(version + b" 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")

    upstream = await world.upstream(script)
    front = await world.front(upstream)
    for _ in range(2):
        await front.request(b"/")
    peer = await front.connect()
    await peer.send(request_head(b"/", EXPECT, b"Content-Length: 5", method=b"PUT"))
    assert (await peer.head()).status == 100
    await peer.send(b"hello")
    assert (await peer.message()).body == b"ok"
    assert [request.value(b"Expect") for request in upstream.requests] == [None, None, b"100-continue"]


async def test_the_upstream_refuses_the_body(world: World) -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(answer(status=b"417 Expectation Failed", body=b"no"))
        assert await peer.ended()

    upstream = await world.upstream(script)
    front = await world.front(upstream)
    peer = await front.connect()
    await peer.send(request_head(b"/", EXPECT, b"Content-Length: 5", method=b"PUT"))
    got = await peer.message()
    assert (got.status, got.body) == (417, b"no")
    assert got.value(b"Connection") == b"close"
    async with asyncio.timeout(PATIENCE):
        await upstream.gone.wait()


async def test_an_upstream_that_knows_no_expectations_gets_the_body_after_a_second(world: World) -> None:
    async def script(peer: Peer) -> None:
        upstream.requests.append(await peer.message())
        await peer.send(answer(body=b"ok"))

    upstream = await world.upstream(script)
    front = await world.front(upstream)
    peer = await front.connect()
    await peer.send(request_head(b"/", EXPECT, b"Content-Length: 5", method=b"PUT"))
    assert (await peer.head()).status == 100
    await peer.send(b"hello")
    assert (await peer.message()).body == b"ok"
    assert upstream.requests[0].body == b"hello"


async def test_nothing_is_invited_once_the_answer_has_begun(world: World) -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(answer(b"Content-Length: 4", status=b"413 Content Too Large", body=None) + b"to")
        await asyncio.sleep(1.3)  # longer than a body waits for its invitation
        await peer.send(b"o!")

    front = await world.front(await world.upstream(script))
    peer = await front.connect()
    await peer.send(request_head(b"/", EXPECT, b"Content-Length: 5", method=b"PUT"))
    got = await peer.message()
    assert (got.status, got.body, got.value(b"Connection")) == (413, b"too!", b"close")


async def test_an_upstream_known_to_speak_http10_is_not_asked_for_an_invitation(world: World) -> None:
    async def script(peer: Peer) -> None:
        upstream.requests.append(await peer.message())
        await peer.send(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok")

    upstream = await world.upstream(script)
    front = await world.front(upstream)
    await front.request(b"/")
    peer = await front.connect()
    await peer.send(request_head(b"/", EXPECT, b"Content-Length: 5", method=b"PUT"))
    assert (await peer.head()).status == 100
    await peer.send(b"hello")
    assert (await peer.message()).body == b"ok"
    assert upstream.requests[1].value(b"Expect") is None
    assert upstream.requests[1].body == b"hello"


@pytest.mark.parametrize("version", [b"HTTP/1.1", b"HTTP/1.0"])
async def test_an_expectation_without_a_body_is_dropped(world: World, version: bytes) -> None:
    upstream = await world.repeating(answer(body=b"x"))
    front = await world.front(upstream)
    peer = await front.connect()
    await peer.send(request_head(b"/", EXPECT, version=version))
    assert (await peer.message()).body == b"x"
    assert upstream.requests[0].value(b"Expect") is None


async def test_an_http10_browser_is_never_sent_an_invitation(world: World) -> None:
    upstream = await world.repeating(answer(body=b"x"))
    front = await world.front(upstream)
    peer = await front.connect()
    await peer.send(
        request_head(b"/", EXPECT, b"Content-Length: 2", method=b"PUT", version=b"HTTP/1.0") + b"ab"
    )
    assert (await peer.message()).status == 200
    assert upstream.requests[0].value(b"Expect") is None
    assert upstream.requests[0].body == b"ab"


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """What grows with each time that the processor is given away."""
    times: list[None] = []
    monkeypatch.setattr(os, "sched_yield", lambda: times.append(None))
    return times


async def test_a_download_gives_way_and_a_page_does_not(world: World, given: list[None]) -> None:
    front = await world.front(await world.repeating(answer(body=b"page")))
    await front.request(b"/")
    assert not given
    front = await world.front(await world.repeating(answer(body=bytes(1_000_000))))
    assert len((await front.request(b"/")).body) == 1_000_000
    assert given


async def test_an_upload_gives_way(world: World, given: list[None]) -> None:
    front = await world.front(await world.repeating(answer()))
    peer = await front.connect()
    await peer.send(request_head(b"/", b"Content-Length: 1000000", method=b"POST") + bytes(1_000_000))
    assert (await peer.message()).status == 200
    assert given
