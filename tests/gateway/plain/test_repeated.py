"""Plain requests with a field on several lines that should have one: passed on whole, or refused by name."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.gateway.plain_support import answer

if TYPE_CHECKING:
    from tests.gateway.plain_support import World

TWICE = (b"User-Agent: first", b"X: 1", b"user-agent: second")


async def test_both_lines_reach_the_upstream_in_order_and_the_connection_goes_on(world: World) -> None:
    upstream = await world.repeating(answer(body=b"ok"))
    peer = await (await world.front(upstream)).connect()
    for _ in range(2):
        assert (await peer.request(b"/", *TWICE)).status == 200
    for request in upstream.requests:
        assert request.values(b"User-Agent") == [b"first", b"second"]
        names = [name.lower() for name, _ in request.fields]
        assert names.index(b"user-agent") < names.index(b"x")


async def test_a_body_behind_repeated_fields_arrives_whole(world: World) -> None:
    upstream = await world.repeating(answer(body=b"ok"))
    peer = await (await world.front(upstream)).connect()
    kind = b"Content-Type: text/plain"
    await peer.send(
        b"POST / HTTP/1.1\r\nHost: a\r\n" + kind + b"\r\nContent-Length: 4\r\n" + kind + b"\r\n\r\nbody"
    )
    assert (await peer.message()).status == 200
    (request,) = upstream.requests
    assert request.body == b"body"
    assert request.values(b"Content-Type") == [b"text/plain", b"text/plain"]


async def test_fields_that_contradict_each_other_are_refused_by_name_and_go_nowhere(world: World) -> None:
    upstream = await world.repeating(answer(body=b"ok"))
    peer = await (await world.front(upstream)).connect()
    got = await peer.request(b"/", b"Content-Type: text/plain", b"Content-Type: text/secret", method=b"POST")
    assert json.loads(got.body) == {
        "status": 400,
        "title": "Bad Request",
        "detail": "The request has several Content-Type fields, and they differ.",
    }
    assert await peer.ended()
    assert upstream.requests == []


async def test_repeated_lines_count_as_fields(world: World) -> None:
    front = await world.front(9, limits={"requestFields": 8})
    got = await front.request(b"/", b"User-Agent: a", b"User-Agent: b", *(b"X-%d: x" % i for i in range(6)))
    assert got.status == 431
