"""Bodies of requests on their way: lengths, chunks, back-pressure, and answers that come meanwhile."""

from __future__ import annotations

import asyncio

import pytest

from bascule.gateway.listening.server import PlainProtocol
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

MIB = 1024 * 1024


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


async def test_chunks_in_one_packet_with_others_end_no_connection(world: World) -> None:
    upstream = await world.repeating(answer())
    front = await world.front(upstream)
    peer = await front.connect()
    targets = [b"/%d" % number for number in range(5)]
    for _ in range(2):
        await peer.send(
            b"".join(
                request_head(target, b"Transfer-Encoding: chunked", method=b"POST") + CHUNKED
                for target in targets
            )
        )
        for _ in targets:
            assert (await peer.message()).status == 200
    assert [request.target for request in upstream.requests] == targets * 2


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
    await settled(lambda: sent, PATIENCE)
    assert 0 < sent < kernel_bytes() + 8 * MIB
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
