"""Plain HTTP to an upstream on a Unix socket: the same pool, the same rules, the same words."""

from __future__ import annotations

import socket
import ssl
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from yarl import URL

from bascule.gateway.plain.client import upstream_session
from tests.gateway.plain_support import Peer, World, answer, request_head

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.gateway.plain_support import Script


@pytest.fixture
def path(socket_folder: Path) -> str:
    return str(socket_folder / "An app.sock")


def url(path: str) -> str:
    return f"http+unix://{quote(path, safe='')}"


async def test_requests_go_over_one_kept_connection_with_the_browsers_host(world: World, path: str) -> None:
    async def script(peer: Peer) -> None:
        while True:
            upstream.requests.append(await peer.message())
            await peer.send(answer(body=b"hello"))

    upstream = await world.unix_upstream(script, path)
    front = await world.front(upstream, upstream_url=url(path))
    peer = await front.connect()
    for _ in range(2):
        assert (await peer.request(b"/a%2Fb?c")).body == b"hello"
    await peer.send(
        request_head(b"/up", b"Content-Length: 100000", method=b"POST", host=b"notebooks.example")
        + bytes(100000)
    )
    assert (await peer.message()).status == 200

    assert upstream.connections == 1
    assert [request.target for request in upstream.requests] == [b"/a%2Fb?c", b"/a%2Fb?c", b"/up"]
    assert [request.value(b"Host") for request in upstream.requests] == [
        b"front",
        b"front",
        b"notebooks.example",
    ]
    assert upstream.requests[2].body == bytes(100000)


async def test_a_connection_that_went_stale_is_replaced_for_what_may_be_asked_twice(
    world: World, path: str
) -> None:
    async def script(peer: Peer) -> None:
        await peer.message()
        await peer.send(answer())
        await peer.head()  # and hangs up

    upstream = await world.unix_upstream(script, path)
    front = await world.front(upstream, upstream_url=url(path))
    assert (await front.request(b"/")).status == 200
    assert (await front.request(b"/")).status == 200
    assert upstream.connections == 2
    await front.request(b"/", b"Content-Length: 0", method=b"POST")
    assert front.log.said("reason", "detail", "upstream") == [
        ("unreachable", "the connection ended", f"unix:{path}")
    ]


def nothing(_: str) -> None:
    """Leave no file."""


def left_over(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)


def a_file(path: str) -> None:
    open(path, "wb").close()


@pytest.mark.parametrize(
    ("make", "error"), [(nothing, "ENOENT"), (left_over, "ECONNREFUSED"), (a_file, "ECONNREFUSED")]
)
async def test_a_socket_that_nobody_serves_is_502(
    world: World, path: str, make: Callable[[str], None], error: str
) -> None:
    make(path)
    front = await world.front(1, upstream_url=url(path))
    assert (await front.request(b"/")).status == 502
    assert front.log.said("reason", "status", "detail") == [("unreachable", 502, f"connect failed: {error}")]


async def test_a_socket_whose_backlog_is_full_has_as_long_as_any_upstream(world: World, path: str) -> None:
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as first:
        listener.bind(path)
        listener.listen(0)
        first.connect(path)
        front = await world.front(1, upstream_url=url(path), limits={"connectTimeout": "200ms"})
        assert (await front.request(b"/")).status == 504
    assert front.log.said("reason", "detail") == [("timeout", "connect timed out")]


async def test_two_sockets_whose_paths_differ_in_case_share_no_connection(
    world: World, socket_folder: Path
) -> None:
    def saying(text: bytes) -> Script:
        async def script(peer: Peer) -> None:
            while True:
                await peer.message()
                await peer.send(answer(body=text))

        return script

    paths = [str(socket_folder / name) for name in ("a.sock", "A.sock")]
    for path in paths:
        await world.unix_upstream(saying(path.encode()), path)
    async with upstream_session(1.0, ssl.create_default_context()) as session:
        for path in paths * 2:
            async with session.get(URL(f"{url(path)}/", encoded=True)) as said:
                assert await said.text() == path
    assert [upstream.connections for upstream in world.upstreams] == [1, 1]
