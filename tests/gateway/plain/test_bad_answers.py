"""Answers that cannot be passed on, and what upstreams send before and behind an answer."""

from __future__ import annotations

import asyncio

import pytest

from tests.gateway.plain_support import PATIENCE, Peer, World, answer, request_head


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"SSH-2.0-OpenSSH_9\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n",
        b"HTTP/1.1 999999 X\r\n\r\n",
        b"HTTP/1.1 999 X\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/2.0 200 OK\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n\x81\x02hi",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length : 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nSet-Cookie : a=b\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 O\x00K\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked,\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: ,chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\t\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: gzip\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"HTTP/1.1 200 OK\r\nX-A: a\rSet-Cookie: evil=1\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-A: a\x00b\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX A: 1\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n: 1\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-A: " + b"a" * 100_000 + b"\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 300 + b"Content-Length: 0\r\n\r\n",
    ],
)
async def test_an_answer_that_is_not_http_is_502(world: World, data: bytes) -> None:
    async def script(peer: Peer) -> None:
        await peer.message()
        await peer.send(data)

    upstream = await world.upstream(script)
    front = await world.front(upstream)
    peer = await front.connect()
    await peer.send(request_head(b"/"))
    got = await peer.message()
    assert got.status == 502
    assert b"evil" not in got.body
    assert front.failures == 1
    ended_early = data in (b"", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n")
    assert front.log.lines[0]["reason"] == ("unreachable" if ended_early else "bad_answer")
    async with asyncio.timeout(PATIENCE):
        await upstream.gone.wait()
    assert (await peer.request(b"/")).status == 502  # the browser's connection stays usable


async def test_a_folded_field_of_an_answer_is_unfolded(world: World) -> None:
    folded = answer(b"Date: x", b"X-A: 1\r\n  Set-Cookie: evil=1\r\n\t: 3", body=b"x")
    front = await world.front(await world.repeating(folded))
    got = await front.request(b"/")
    assert [name for name, _ in got.fields] == [b"Date", b"X-A", b"Content-Length"]


EARLY = (
    b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\nConnection: X-Hop\r\nX-Hop: 1\r\nContent-Length: 0\r\n"
    b"\r\n"
    b"HTTP/1.1 102 Processing\r\n\r\n"
)


async def test_interim_answers_are_passed_on_before_the_answer(world: World) -> None:  # RFC 9110 §15.2
    go_on = asyncio.Event()

    async def script(peer: Peer) -> None:
        while True:
            await peer.message()
            await peer.send(EARLY)
            await go_on.wait()
            go_on.clear()
            await peer.send(answer(body=b"final"))

    upstream = await world.upstream(script)
    front = await world.front(upstream)
    peer = await front.connect()
    for _ in range(2):
        await peer.send(request_head(b"/"))
        hints = await peer.head()
        assert hints.start_line == b"HTTP/1.1 103 Early Hints"
        assert hints.fields == [(b"Link", b"</a.css>")]
        assert (await peer.head()).start_line == b"HTTP/1.1 102 Processing"
        go_on.set()
        got = await peer.message()
        assert (got.status, got.body, got.values(b"Link")) == (200, b"final", [])
    assert upstream.connections == 1


async def test_an_http10_browser_gets_no_interim_answer(world: World) -> None:
    front = await world.front(await world.repeating(EARLY + answer(body=b"final")))
    peer = await front.connect()
    await peer.send(request_head(b"/", version=b"HTTP/1.0"))
    got = await peer.message()
    assert (got.status, got.body) == (200, b"final")


async def test_an_interim_answer_with_two_readings_is_not_passed_on(world: World) -> None:
    early = b"HTTP/1.1 103 Early Hints\r\nX-A: a\rSet-Cookie: evil=1\r\n\r\n"
    front = await world.front(await world.repeating(early + answer(body=b"final")))
    got = await front.request(b"/")
    assert (got.status, got.values(b"Set-Cookie")) == (502, [])


async def test_an_interim_answer_with_white_space_behind_a_name_is_not_passed_on(world: World) -> None:
    early = b"HTTP/1.1 103 Early Hints\r\nContent-Length : 5\r\n\r\n"
    front = await world.front(await world.repeating(early + answer(body=b"final")))
    assert (await front.request(b"/")).body == b"final"


async def test_an_invitation_that_nobody_asked_for_is_not_passed_on(world: World) -> None:
    front = await world.front(await world.repeating(b"HTTP/1.1 100 Continue\r\n\r\n" + answer(body=b"final")))
    assert (await front.request(b"/")).body == b"final"


async def test_interim_answers_without_end_are_502_and_take_no_memory(world: World) -> None:
    async def script(peer: Peer) -> None:
        await peer.message()
        while True:
            await peer.send(b"HTTP/1.1 102 Processing\r\n\r\n" * 1000)

    upstream = await world.upstream(script)
    front = await world.front(upstream)
    peer = await front.connect()
    await peer.send(request_head(b"/"))
    while (got := await peer.head()).status == 102:
        pass
    assert got.status == 502
    async with asyncio.timeout(PATIENCE):
        await upstream.gone.wait()


HALF = b"HTTP/1.1 200 OK\r\nContent-"


@pytest.mark.parametrize(
    ("surplus", "split"),
    [
        (b"surplus", 0),
        (b"surplus", 3),
        (b"\r\n\x00", 0),
        (HALF, 0),
        (answer(body=b"poison"), 0),
        (answer() * 3, 2),
    ],
    ids=["text", "text-behind-half-a-head", "control", "half-a-head", "an-answer", "answers"],
)
@pytest.mark.parametrize(
    ("method", "data", "status", "body"),
    [
        (b"GET", answer(body=b"ok"), 200, b"ok"),
        (b"GET", answer(b"Connection: close", body=b"ok"), 200, b"ok"),
        (b"GET", b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, b"ok"),
        (b"GET", b"HTTP/1.1 100 Continue\r\n\r\n" + answer(body=b"ok"), 200, b"ok"),
        (b"GET", answer(b"Transfer-Encoding: chunked", body=None) + b"2\r\nok\r\n0\r\n\r\n", 200, b"ok"),
        (b"GET", answer(), 200, b""),
        (b"HEAD", answer(b"Content-Length: 7", body=None), 200, b""),
        (b"HEAD", answer(b"Transfer-Encoding: chunked", body=None), 200, b""),
        (b"HEAD", answer(body=None), 200, b""),
        (b"GET", answer(status=b"204 No Content", body=None), 204, b""),
        (b"GET", answer(b"Content-Length: 5", status=b"204 No Content", body=None), 204, b""),
        (b"GET", answer(b"Transfer-Encoding: chunked", status=b"204 No Content", body=None), 204, b""),
        (b"GET", answer(status=b"304 Not Modified", body=None), 304, b""),
        (b"GET", answer(b"Content-Length: 5", status=b"304 Not Modified", body=None), 304, b""),
    ],
    ids=[
        "length", "closing", "http10", "behind-100", "chunked", "empty",
        "head-length", "head-chunked", "head", "204", "204-length", "204-chunked", "304", "304-length",
    ],
)  # fmt: skip
async def test_what_an_upstream_sends_behind_its_answer_reaches_nobody_and_the_answer_is_delivered(
    world: World, method: bytes, data: bytes, status: int, body: bytes, surplus: bytes, split: int
) -> None:
    async def script(peer: Peer) -> None:
        while (await peer.message()).target != b"/next":
            end = data.rindex(b"\r\n\r\n", 0, len(data) - len(body)) + split
            if split:  # so that the end of the head is in two packets
                await peer.send(data[:end])
                await asyncio.sleep(0.02)  # until the first has arrived: nothing tells
            await peer.send(data[end if split else 0 :] + surplus)
        await peer.send(answer(body=b"next"))

    upstream = await world.upstream(script)
    front = await world.front(upstream)
    peer = await front.connect()
    got = await peer.request(b"/", method=method)
    assert (got.status, got.body) == (status, body)
    assert (await peer.request(b"/next")).body == b"next"
    assert front.failures == 0
    assert upstream.connections == 2 or surplus == HALF


LATE = [
    answer(),
    answer(body=b"ok"),
    answer(b"Content-Length: 0", status=b"304 Not Modified", body=None),
    answer(status=b"204 No Content", body=None),
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
]


@pytest.mark.parametrize("first", LATE, ids=["empty", "length", "304", "204", "chunked"])
@pytest.mark.parametrize("interim", [b"", b"HTTP/1.1 100 Continue\r\n\r\n"], ids=["", "behind-100"])
async def test_what_an_upstream_sends_on_an_idle_connection_is_nobodys_answer(
    world: World, first: bytes, interim: bytes
) -> None:
    said = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.message()
        if not said.is_set():
            await peer.send(first)
            await asyncio.sleep(0.05)  # until the connection is back in the pool: nothing tells
            await peer.send(interim + answer(body=b"poison"))
            said.set()
            await peer.ended()
        await peer.send(answer(body=b"good"))

    front = await world.front(await world.upstream(script))
    await front.request(b"/first")
    async with asyncio.timeout(PATIENCE):
        await said.wait()
    await asyncio.sleep(0.05)  # until it has arrived: nothing tells either
    assert (await front.request(b"/second")).body == b"good"
