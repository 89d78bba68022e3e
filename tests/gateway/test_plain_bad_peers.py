"""Upstreams that fail, connections that went stale, and requests made to be misread."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import subprocess
from typing import TYPE_CHECKING

import pytest

from bascule.gateway.legs import reset
from bascule.gateway.plain_client import upstream_session
from tests.gateway.plain_support import PATIENCE, Peer, World, answer, request_head, until
from tests.support.certificates import make_certificate
from tests.support.deaf import deaf_port
from tests.support.fewdescriptors import no_descriptors_left
from tests.support.mutual import asking_for_certificates
from tests.support.notls import NO_TLS, without_tls
from tests.support.parts import require
from tests.support.processes import reserve_port

if TYPE_CHECKING:
    from pathlib import Path


# -- no answer --------------------------------------------------------------------------------------------


async def test_an_unreachable_upstream_is_502(world: World) -> None:
    front = await world.front(reserve_port())
    peer = await front.connect()
    got = await peer.request(b"/secret?token=x")
    assert json.loads(got.body) == {
        "status": 502,
        "title": "Bad Gateway",
        "detail": "The application behind this address cannot be reached.",
    }
    assert (await peer.request(b"/", b"Accept: text/html")).body.startswith(b"<!doctype html>")
    assert (front.requests, front.failures) == (2, 2)


async def test_each_failure_is_one_line_in_the_log_with_its_cause_and_nothing_of_the_request(
    world: World,
) -> None:
    closed = reserve_port()
    front = await world.front(closed, name="lab", kind="jupyter", trusted=["127.0.0.1"])
    await front.request(b"/secret?token=x", b"Cookie: secret", b"X-Forwarded-For: 10.1.2.3")
    assert front.log.lines == [
        {
            "event": "request failed", "reason": "unreachable", "client": "10.1.2.3", "route": "lab",
            "kind": "jupyter", "upstream": f"127.0.0.1:{closed}", "status": 502,
            "detail": "connect failed: ECONNREFUSED",
        }
    ]  # fmt: skip


async def test_a_name_that_does_not_resolve_is_502(world: World) -> None:
    front = await world.front(80, upstream_host="does-not-exist.invalid")
    assert (await front.request(b"/")).status == 502


async def test_a_name_that_this_process_has_no_descriptor_to_look_up_is_503(
    monkeypatch: pytest.MonkeyPatch, world: World
) -> None:
    async def look_up(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    front = await world.front(80, upstream_host="lab")
    peer = await front.connect()
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", look_up)
    with no_descriptors_left():
        got = await peer.request(b"/")
    assert (got.status, got.value(b"Retry-After")) == (503, b"1")
    assert front.log.said("reason", "status", "detail") == [("no_room", 503, "connect failed: EMFILE")]
    assert (front.refused, front.failures) == (1, 0)


async def test_an_upstream_that_does_not_accept_in_time_is_504(world: World) -> None:
    with deaf_port() as port:
        front = await world.front(port, limits={"connectTimeout": 0.2})
        assert (await front.request(b"/")).status == 504
    assert front.failures == 1


@pytest.mark.parametrize(("said", "detail"), NO_TLS)
async def test_an_https_upstream_that_speaks_no_tls_is_said_to(
    world: World, said: bytes | None, detail: str
) -> None:
    async with without_tls(said) as port:
        tls = ssl.create_default_context()
        front = await world.front(port, tls=tls, limits={"connectTimeout": 0.5})
        status, reason = (504, "timeout") if said is None else (502, "unreachable")
        assert (await front.request(b"/")).status == status
        assert [(line["reason"], line["detail"]) for line in front.log.lines] == [(reason, detail)]


async def test_an_https_upstream_that_does_not_accept_is_not_said_to_speak_no_tls(world: World) -> None:
    with deaf_port() as port:
        tls = ssl.create_default_context()
        front = await world.front(port, tls=tls, limits={"connectTimeout": 0.2})
        assert (await front.request(b"/")).status == 504
        assert [line["detail"] for line in front.log.lines] == ["connect timed out"]


async def test_an_upstream_that_never_answers_is_504(world: World) -> None:
    async def script(peer: Peer) -> None:
        await peer.message()
        assert await peer.ended()

    upstream = await world.upstream(script)
    front = await world.front(upstream, limits={"httpUpstreamTimeout": 0.2})
    got = await front.request(b"/")
    assert (got.status, front.failures) == (504, 1)
    assert [(line["reason"], line["detail"]) for line in front.log.lines] == [
        ("timeout", "no answer in time")
    ]
    async with asyncio.timeout(PATIENCE):
        await upstream.gone.wait()


async def test_the_patience_ends_with_the_head_of_the_answer(world: World) -> None:
    async def script(peer: Peer) -> None:
        await peer.message()
        await peer.send(answer(b"Content-Length: 2", body=None))
        await asyncio.sleep(0.4)  # twice the patience: what is tested is that nothing happens
        await peer.send(b"ok")

    front = await world.front(await world.upstream(script), limits={"httpUpstreamTimeout": 0.2})
    assert (await front.request(b"/")).body == b"ok"


async def test_the_patience_starts_anew_while_an_upload_moves(world: World) -> None:
    upstream = await world.repeating(answer(body=b"ok"))
    front = await world.front(upstream, limits={"httpUpstreamTimeout": 0.8})
    peer = await front.connect()
    await peer.send(request_head(b"/", b"Content-Length: 12", method=b"PUT"))
    for _ in range(12):
        await asyncio.sleep(0.1)  # 1.2 s in all
        await peer.send(b"x")
    assert (await peer.message()).body == b"ok"


async def test_a_browser_that_stalls_its_upload_is_408(world: World) -> None:
    upstream = await world.repeating(answer())
    front = await world.front(upstream, limits={"httpUpstreamTimeout": 0.2})
    peer = await front.connect()
    await peer.send(request_head(b"/", b"Content-Length: 8", method=b"PUT") + b"x")
    assert (await peer.message()).status == 408
    assert front.failures == 0
    async with asyncio.timeout(PATIENCE):
        await upstream.gone.wait()


async def test_an_invitation_that_never_comes_is_504(world: World) -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        assert await peer.ended()

    front = await world.front(await world.upstream(script), limits={"httpUpstreamTimeout": 0.2})
    peer = await front.connect()
    await peer.send(request_head(b"/", b"Expect: 100-continue", b"Content-Length: 1", method=b"PUT"))
    assert (await peer.message()).status == 504


# -- too many ---------------------------------------------------------------------------------------------


async def test_a_request_beyond_the_bound_is_503_until_another_has_ended(world: World) -> None:
    arrived, go_on = asyncio.Semaphore(0), asyncio.Event()

    async def script(peer: Peer) -> None:
        while True:
            await peer.message()
            arrived.release()
            await go_on.wait()
            await peer.send(answer(body=b"ok"))

    front = await world.front(await world.upstream(script), limits={"maxHttpRequests": 2})
    holders = [await front.connect() for _ in range(2)]
    for peer in holders:
        await peer.send(request_head(b"/"))
        await arrived.acquire()
    late = await front.connect()
    refused = await late.request(b"/")
    assert (refused.status, refused.values(b"Retry-After")) == (503, [b"1"])
    assert front.in_flight == 2
    go_on.set()
    assert [(await peer.message()).status for peer in holders] == [200, 200]
    assert (await late.request(b"/")).body == b"ok"
    await until(lambda: front.in_flight == 0)
    assert (front.refused, front.failures) == (1, 0)


# -- bad answers ------------------------------------------------------------------------------------------


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


# -- stale connections ------------------------------------------------------------------------------------


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


# -- requests made to be misread --------------------------------------------------------------------------

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
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551617\r\n\r\nx",
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
        b"GET / HTTP/1.2\r\nHost: a\r\n\r\n",
        b"GET / HTTP/2.0\r\nHost: a\r\n\r\n",
        b"GET / HTTP/11\r\nHost: a\r\n\r\n",
        b"GET /\r\n\r\n",
        b"WHATEVER / HTTP/1.1\r\nHost: a\r\n\r\n",
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


# -- many at once -----------------------------------------------------------------------------------------


async def test_exchanges_never_mix(world: World) -> None:
    async def script(peer: Peer) -> None:
        while True:
            request = await peer.message()
            await peer.send(answer(b"X-Target: " + request.target, body=request.target * 1000 + request.body))

    front = await world.front(await world.upstream(script))

    async def browse(browser: int) -> None:
        peer = await front.connect()
        for number in range(20):
            target = b"/%d/%d" % (browser, number)
            body = b"%d" % (browser * number)
            await peer.send(request_head(target, b"Content-Length: %d" % len(body), method=b"POST") + body)
            got = await peer.message()
            assert got.value(b"X-Target") == target
            assert got.body == target * 1000 + body

    async with asyncio.TaskGroup() as browsers:
        for browser in range(20):
            browsers.create_task(browse(browser))
    assert front.failures == 0
    await until(lambda: front.requests == 400)


# -- TLS --------------------------------------------------------------------------------------------------


@pytest.fixture
def authority(tmp_path: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's context with a certificate of its own, and a client's that trusts it."""
    openssl = require("openssl")
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    command: list[str | Path] = [
        openssl,
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
    ]
    command += ["-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    subprocess.run([*command, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate, key)
    return server, ssl.create_default_context(cafile=str(certificate))


async def test_an_https_upstream_is_verified_by_its_own_name(
    world: World, authority: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    server, client = authority

    async def script(peer: Peer) -> None:
        while True:
            upstream.requests.append(await peer.message())
            await peer.send(answer(body=b"safe"))

    upstream = await world.upstream(script, server)
    front = await world.front(upstream, tls=client, upstream_host="localhost")
    for _ in range(2):
        assert (await front.request(b"/a%2Fb?")).body == b"safe"
    assert upstream.requests[0].value(b"Host") == b"front"
    assert upstream.requests[0].target == b"/a%2Fb?"
    assert upstream.connections == 1


async def test_an_https_upstream_that_cannot_be_verified_is_502(
    world: World, authority: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    server, client = authority
    upstream = await world.repeating(answer())
    secure = await world.upstream(upstream.script, server)
    for front, status in (
        (await world.front(secure, tls=client, upstream_host="127.0.0.1"), 502),
        (await world.front(secure, tls=ssl.create_default_context(), upstream_host="localhost"), 502),
        (
            await world.front(
                upstream, tls=client, upstream_host="localhost", limits={"connectTimeout": 0.3}
            ),
            504,
        ),
    ):
        assert (await front.request(b"/")).status == status
    assert upstream.requests == []


async def test_an_https_upstream_that_misses_a_certificate_of_ours_is_not_said_to_be_forbidden(
    world: World, tmp_path: Path
) -> None:
    """TLS 1.3 says so behind our handshake, with a number of OpenSSL's that is EPERM of the kernel's."""
    certificate = make_certificate(tmp_path)
    with asking_for_certificates(certificate) as port:
        front = await world.front(port, tls=certificate.client(), upstream_host="localhost")
        assert (await front.request(b"/")).status == 502
        said = "TLS handshake failed: the upstream asks for a certificate of ours"
        assert [line["detail"] for line in front.log.lines] == [said]
