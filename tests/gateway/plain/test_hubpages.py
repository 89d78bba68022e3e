"""Pages of errors as the Hub has them, from a small server in its place."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import socket
import ssl
from typing import TYPE_CHECKING
from urllib.parse import quote

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer

from bascule.gateway.plain import hubpages as module
from bascule.gateway.plain.client import upstream_session
from bascule.gateway.plain.hubpages import HubPages

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

MOST = 1 << 20
VIA = b"1.1 bascule-test"
NO_STORE = (b"Cache-Control", b"no-store")


@pytest_asyncio.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    # As the gateway's own.
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        yield session


@contextlib.asynccontextmanager
async def hub(handler: Handler) -> AsyncIterator[str]:
    """Serve all paths with a handler; yield the error target."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    async with TestServer(app) as server:
        yield str(server.make_url("/hub/error"))


def saying(response: Callable[[], web.Response]) -> Handler:
    async def handler(_: web.Request) -> web.Response:
        return response()

    return handler


async def test_a_page_is_the_hubs_with_what_describes_it(session: aiohttp.ClientSession) -> None:
    answer = saying(
        lambda: web.Response(text="<p>Start?", content_type="text/html", headers={"Set-Cookie": "a=b"})
    )
    async with hub(answer) as target:
        page = await HubPages(target, VIA).page(session, 503, "/user/alice")

    assert page == ([(b"Content-Type", b"text/html; charset=utf-8"), NO_STORE], b"<p>Start?")


@pytest.mark.parametrize("status", [200, 404, 503])
async def test_whatever_its_status_a_page_is_a_page(session: aiohttp.ClientSession, status: int) -> None:
    async with hub(saying(lambda: web.Response(status=status, body=b"page"))) as target:
        page = await HubPages(target, VIA).page(session, 404, "/")

    assert page is not None
    assert page[1] == b"page"


async def test_an_encoded_page_stays_as_it_is(session: aiohttp.ClientSession) -> None:
    packed = gzip.compress(b"page")
    headers = {"Content-Type": "text/html", "Content-Encoding": "gzip"}
    async with hub(saying(lambda: web.Response(body=packed, headers=headers))) as target:
        page = await HubPages(target, VIA).page(session, 404, "/")

    assert page == (
        [(b"Content-Type", b"text/html"), (b"Content-Encoding", b"gzip"), NO_STORE],
        packed,
    )


@pytest.mark.parametrize("slashes", ["", "/", "//"])
async def test_the_hub_is_asked_as_by_the_proxy_it_knows(
    session: aiohttp.ClientSession, slashes: str
) -> None:
    asked: list[tuple[str, str]] = []

    async def note(request: web.Request) -> web.Response:
        asked.append((request.method, request.path_qs))
        return web.Response()

    async with hub(note) as target:
        await HubPages(target + slashes, VIA).page(session, 503, "/user/a%20b/x?y=1&z=#")

    assert asked == [("GET", "/hub/error/503?url=%2Fuser%2Fa%2520b%2Fx%3Fy%3D1%26z%3D%23")]


async def test_the_hub_reads_the_target_as_the_browser_has_sent_it(session: aiohttp.ClientSession) -> None:
    urls: list[str] = []

    async def note(request: web.Request) -> web.Response:
        urls.append(request.query["url"])
        return web.Response()

    async with hub(note) as target:
        await HubPages(target, VIA).page(session, 404, "/a%2Fb+c?next=%2F&url=/x;'\"")

    assert urls == ["/a%2Fb+c?next=%2F&url=/x;'\""]


async def test_a_page_is_asked_for_that_every_browser_can_read_and_by_our_name(
    session: aiohttp.ClientSession,
) -> None:
    asked: list[tuple[str | None, ...]] = []

    async def note(request: web.Request) -> web.Response:
        asked.append(tuple(request.headers.get(name) for name in ("Accept", "Accept-Encoding", "User-Agent")))
        return web.Response()

    async with hub(note) as target:
        await HubPages(target, VIA).page(session, 404, "/")

    assert asked == [("text/html", "identity", "bascule")]


@pytest.mark.parametrize("status", [301, 302, 307])
async def test_a_redirect_is_no_page_and_nobody_follows_it(
    session: aiohttp.ClientSession, status: int
) -> None:
    paths: list[str] = []

    async def redirect(request: web.Request) -> web.Response:
        paths.append(request.path)
        return web.Response(status=status, headers={"Location": "/hub/login"})

    async with hub(redirect) as target:
        assert await HubPages(target, VIA).page(session, 404, "/") is None

    assert paths == ["/hub/error/404"]


@pytest.mark.parametrize("excess", [1, MOST])
async def test_a_page_that_is_too_long_is_none(session: aiohttp.ClientSession, excess: int) -> None:
    async with hub(saying(lambda: web.Response(body=b"x" * (MOST + excess)))) as target:
        assert await HubPages(target, VIA).page(session, 404, "/") is None


async def test_the_longest_page_is_one(session: aiohttp.ClientSession) -> None:
    async with hub(saying(lambda: web.Response(body=b"x" * MOST))) as target:
        page = await HubPages(target, VIA).page(session, 404, "/")

    assert page is not None
    assert len(page[1]) == MOST


async def test_where_nobody_listens_there_is_no_page(session: aiohttp.ClientSession) -> None:
    with socket.socket() as bound:  # but not listening: nobody else gets the port
        bound.bind(("127.0.0.1", 0))
        target = f"http://127.0.0.1:{bound.getsockname()[1]}/hub/error"
        assert await HubPages(target, VIA).page(session, 503, "/") is None


async def test_a_page_that_breaks_off_is_none(session: aiohttp.ClientSession) -> None:
    async def broken(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Length": "100"})
        await answer.prepare(request)
        await answer.write(b"<p>")
        assert request.transport is not None
        request.transport.close()
        return answer

    async with hub(broken) as target:
        assert await HubPages(target, VIA).page(session, 404, "/") is None


async def test_a_hub_that_takes_its_time_is_not_waited_for(
    session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PATIENCE", 0.05)
    over = asyncio.Event()

    async def wait(_: web.Request) -> web.Response:
        await over.wait()
        return web.Response()

    async with hub(wait) as target:
        assert await HubPages(target, VIA).page(session, 404, "/") is None
        over.set()


async def test_a_field_that_is_not_utf_8_is_passed_on(session: aiohttp.ClientSession) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/\xe9\r\nContent-Length: 4\r\n\r\npage")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        page = await HubPages(f"http://127.0.0.1:{port}", VIA).page(session, 404, "/")

    assert page == ([(b"Content-Type", b"text/\xe9"), NO_STORE], b"page")


@pytest.mark.parametrize("scheme", ["http+unix", "unix+http"])
async def test_a_hub_on_a_unix_socket_is_asked_by_a_name_that_servers_take(
    socket_folder: Path, scheme: str
) -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.Response(text=f"{request.host} {request.raw_path}", content_type="text/html")

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.UnixSite(runner, str(socket_folder / "s")).start()
        target = f"{scheme}://{quote(str(socket_folder / 's'), safe='')}/hub/error"
        async with upstream_session(1.0, ssl.create_default_context()) as upstreams:
            page = await HubPages(target, VIA).page(upstreams, 503, "/user/alice")
    finally:
        await runner.cleanup()

    assert page is not None
    assert page[1] == b"localhost /hub/error/503?url=%2Fuser%2Falice"
