"""What a browser is told when an upstream gives no answer, or not in time."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import time
from typing import Any

import pytest

from bascule.gateway.plain.client import UpstreamPool
from tests.gateway.plain_support import PATIENCE, Peer, World, answer, request_head
from tests.support.deaf import deaf_port
from tests.support.fewdescriptors import no_descriptors_left
from tests.support.notls import NO_TLS, without_tls
from tests.support.processes import reserve_port


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


async def test_an_upstream_that_has_moved_is_found_within_a_second(
    monkeypatch: pytest.MonkeyPatch, world: World
) -> None:
    """A pod that was started again has another address."""
    loop = asyncio.get_running_loop()
    upstream = await world.repeating(answer())
    front = await world.front(upstream, upstream_host="lab")

    async def resolve(name: str, *_: object, **__: object) -> list[tuple[object, ...]]:
        found = where if name == "lab" else name  # an address means itself: the loop looks that up as well
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (found, upstream.port))]

    monkeypatch.setattr(loop, "getaddrinfo", resolve)
    where = "127.0.0.4"  # where nobody listens
    assert (await front.request(b"/")).status == 502
    where = "127.0.0.1"
    now = loop.time
    monkeypatch.setattr(loop, "time", lambda: now() + 1.0)
    assert (await front.request(b"/")).status == 200


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


@pytest.mark.parametrize("is_deaf", [False, True], ids=["answers", "is deaf"])
@pytest.mark.parametrize("still", [[2.0], [0.1] * 5], ids=["once", "again and again"])
async def test_time_in_which_we_stood_still_does_not_count(
    monkeypatch: pytest.MonkeyPatch, world: World, is_deaf: bool, still: list[float]
) -> None:
    """As in a container that was frozen, or beside others that had the processor."""
    connect = UpstreamPool.connect
    left = list(still)

    def stand_still() -> None:
        if left:
            time.sleep(left.pop())
            asyncio.get_running_loop().call_soon(stand_still)

    async def connect_and_stand_still(*arguments: Any, **options: Any) -> Any:
        asyncio.get_running_loop().call_soon(stand_still)
        return await connect(*arguments, **options)

    upstream = await world.repeating(answer(body=b"well"))
    with deaf_port() as deaf:
        front = await world.front(deaf if is_deaf else upstream, limits={"connectTimeout": 0.2})
        peer = await front.connect()
        monkeypatch.setattr(UpstreamPool, "connect", connect_and_stand_still)
        got = await peer.request(b"/", b"Content-Length: 0", method=b"POST")
    assert got.status == (504 if is_deaf else 200)


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
