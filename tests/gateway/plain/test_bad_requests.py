"""Requests made to be misread."""

from __future__ import annotations

import json

import pytest

from tests.gateway.plain_support import Message, Peer, World, answer, request_head
from tests.support.processes import reserve_port

SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: front\r\n\r\n"


@pytest.mark.parametrize(
    "head",
    [
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 40\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0, 0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\nhello",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x5\r\n\r\nhello",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5 5\r\n\r\nhello",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9223372036854775808\r\n\r\nx",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551615\r\n\r\nx",
        b"POST / HTTP/1.1\r\nHost: a\r\ncontent-length:18446744073709551615\r\n\r\nx",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551617\r\n\r\nx",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \t0000000000000000005\r\n\r\nhello",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length : 5\r\n\r\nhello",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nX: y\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\n Content-Length: 5\r\n\r\nhello",
        b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.0\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\nHost: a\nContent-Length: 0\n\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nX: a\rContent-Length: 5\r\n\r\nhello",
        b"POST / HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\nContent-Length: 0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nX\x00: b\r\nContent-Length: 0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent\x00-Length: 5\r\nContent-Length: 0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX Y: b\r\n\r\n",
        b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /a\x01 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.12\r\nHost: a\r\n\r\n",
        b"GET / HTTP/2.0\r\nHost: a\r\n\r\n",
        b"GET / HTTP/11\r\nHost: a\r\n\r\n",
        b"GET /\r\n\r\n",
        b"WHAT(EVER) / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"get / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
async def test_a_head_with_two_readings_is_refused_and_ends_the_connection(world: World, head: bytes) -> None:
    upstream = await world.repeating(answer())
    front = await world.front(upstream)
    peer = await front.connect()
    await peer.send(head + SMUGGLED)
    got = await peer.message()
    assert got.status in (400, 505)
    assert b"smuggled" not in got.body
    assert await peer.ended()
    assert upstream.connections == 0


@pytest.mark.parametrize(
    "chunks",
    [
        b"5\nhello\r\n0\r\n\r\n",
        b"5;a\nhello\r\n0\r\n\r\n",
        b"5\r\nhello0\r\n\r\n",
        b"5\r\nhelloXX0\r\n\r\n",
        b"0x5\r\nhello\r\n0\r\n\r\n",
        b"+5\r\nhello\r\n0\r\n\r\n",
        b"-5\r\nhello\r\n0\r\n\r\n",
        b" 5\r\nhello\r\n0\r\n\r\n",
        b"5 \r\nhello\r\n0\r\n\r\n",
        b"5_0\r\nhello\r\n0\r\n\r\n",
        b"10000000000000005\r\nhello\r\n0\r\n\r\n",
        b"\r\nhello\r\n0\r\n\r\n",
        b"g\r\nhello\r\n0\r\n\r\n",
        b"0\r\nX: y\nZ: a\r\n\r\n",
    ],
)
async def test_a_chunked_body_with_two_readings_smuggles_nothing(world: World, chunks: bytes) -> None:
    targets: list[bytes] = []

    async def script(peer: Peer) -> None:
        head = await peer.head()
        targets.append(head.target)
        async for part in peer.chunks():
            assert part in (b"hello", b"")
        targets.append(b"COMPLETE")

    front = await world.front(await world.upstream(script))
    peer = await front.connect()
    await peer.send(request_head(b"/", b"Transfer-Encoding: chunked", method=b"POST") + chunks + SMUGGLED)
    assert (await peer.message()).status == 400
    assert await peer.ended()
    assert targets in ([], [b"/"])


async def test_no_request_is_read_as_the_body_of_another_whose_length_is_no_length_to_one_parser(
    world: World,
) -> None:
    async def script(peer: Peer) -> None:
        while True:  # answers early, as a server does that wants no body
            targets.append((await peer.head()).target)
            await peer.send(answer(body=targets[-1]))

    targets: list[bytes] = []
    front = await world.front(await world.upstream(script))
    length = b"Content-Length: 18446744073709551615"  # 2**64-1, which llhttp uses for "none"
    await front.request(b"/one", length, method=b"POST")
    assert (await front.request(b"/two")).body == b"/two"
    assert targets == [b"/two"]


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"DELETE", b"OPTIONS"])
@pytest.mark.parametrize("framing", [b"Content-Length: %d" % len(SMUGGLED), b"Transfer-Encoding: chunked"])
async def test_what_an_upstream_leaves_unread_of_a_body_is_no_request_in_front_of_somebody_elses(
    world: World, method: bytes, framing: bytes
) -> None:
    async def script(peer: Peer) -> None:  # a server that reads no body of these methods
        head = await peer.head()
        heads.append(head)
        await peer.send(
            answer(body=None if method == head.start_line.split(b" ")[0] == b"HEAD" else head.target)
        )
        await peer.reader.readuntil(SMUGGLED)  # what was in the body
        await peer.reader.read(1)  # and its answer comes late, when another request waits for its own
        await peer.send(answer(body=b"poison"))

    heads: list[Message] = []
    front = await world.front(await world.upstream(script))
    body = (
        SMUGGLED if framing.startswith(b"Content") else b"%x\r\n%b\r\n0\r\n\r\n" % (len(SMUGGLED), SMUGGLED)
    )
    peer = await front.connect()
    await peer.send(request_head(b"/one", framing, method=method) + body)
    assert (await peer.message(bodiless=method == b"HEAD")).status == 200
    assert (await peer.request(b"/two")).body == b"/two"
    assert heads[0].value(b"Connection") == b"close"
    assert heads[1].value(b"Connection") is None


@pytest.mark.parametrize("line", [b"GET /", b"GET / HTTP/0.9", b"GET / HTTP/2.0"])
async def test_another_version_than_http_1_is_not_served(world: World, line: bytes) -> None:
    upstream = await world.repeating(answer())
    front = await world.front(upstream)
    peer = await front.connect()
    await peer.send(line + b"\r\nHost: a\r\n\r\n")
    assert (await peer.message()).status == 505  # RFC 9110 §15.6.6
    assert await peer.ended()
    assert upstream.connections == 0


async def test_a_transfer_coding_that_would_be_lost_on_the_way_is_not_accepted(world: World) -> None:
    upstream = await world.repeating(answer())
    front = await world.front(upstream)
    peer = await front.connect()
    head = request_head(b"/", b"Transfer-Encoding: gzip, chunked", method=b"POST")
    await peer.send(head + b"3\r\nabc\r\n0\r\n\r\n" + request_head(b"/two"))
    assert (await peer.message()).status == 501  # RFC 9112 §6.1
    assert await peer.ended()
    assert upstream.connections == 0


async def test_an_upgrade_with_a_body_carries_nothing_else(world: World) -> None:
    upstream = await world.repeating(answer())
    front = await world.front(upstream)
    peer = await front.connect()
    lines = (b"Connection: Upgrade", b"Upgrade: h2c", b"Content-Length: %d" % len(SMUGGLED))
    await peer.send(request_head(b"/one", *lines, method=b"POST") + SMUGGLED + request_head(b"/two"))
    got = await peer.message()
    assert (got.status, got.value(b"Connection")) == (200, b"close")
    assert await peer.ended()
    assert [(request.target, request.body) for request in upstream.requests] == [(b"/one", SMUGGLED)]


async def test_more_fields_than_the_limit_are_431_as_for_an_upgrade(world: World) -> None:
    upstream = await world.repeating(answer())
    front = await world.front(upstream, limits={"requestFields": 20})
    fields = [b"X-%d: y" % number for number in range(20)]
    got = await front.request(b"/", *fields)  # and Host
    assert (got.status, json.loads(got.body)["detail"]) == (431, "The request has too many header fields.")
    assert upstream.connections == 0
    assert (await front.request(b"/", *fields[1:])).status == 200


@pytest.mark.parametrize("fault", [b"no field at all", b"X: a\r", b"X: " + b"y" * 9000, b"X: y\r\n" * 200])
async def test_an_answer_to_what_does_not_parse_says_that_it_is_the_last(world: World, fault: bytes) -> None:
    front = await world.front(reserve_port(), limits={"requestHeadBytes": 4096})
    peer = await front.connect()
    await peer.send(request_head(b"/", fault))
    got = await peer.message()
    assert got.start_line.startswith(b"HTTP/1.1 4")
    assert got.value(b"Connection") == b"close"
    assert await peer.ended()


async def test_a_field_that_is_too_large_is_refused(world: World) -> None:
    upstream = await world.repeating(answer())
    front = await world.front(upstream)
    assert (await front.request(b"/", b"X: " + b"y" * 200_000)).status == 431
    assert (await front.request(b"/" + b"y" * 200_000)).status == 431
    assert upstream.connections == 0
