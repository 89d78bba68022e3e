"""A connection to an upstream that fails: what came before is still heard."""

from __future__ import annotations

import asyncio
import gc
import socket
import ssl
from typing import TYPE_CHECKING

import aiohttp
import pytest

from bascule.gateway.plain_client import UploadBody, upstream_session
from bascule.gateway.plain_connection import UpstreamConnection
from tests.gateway.plain_support import answer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


@pytest.fixture(params=["tcp", "unix"])
def pair(request: pytest.FixtureRequest) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Return both ends of a connection: ours and the upstream's."""
    if request.param == "unix":
        ours, theirs = socket.socketpair()
    else:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            ours = socket.create_connection(listener.getsockname())
            theirs, _ = listener.accept()
    ours.setblocking(False)
    with ours, theirs:
        yield ours, theirs


async def uploading(ours: socket.socket) -> UpstreamConnection:
    """Return a connection on which the first part of an upload was sent, and nothing was received."""
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(lambda: UpstreamConnection(loop), sock=ours)
    connection.set_response_params()
    ours.send(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc")
    return connection


def go_on(connection: UpstreamConnection) -> None:
    """Send the next part, before the loop has looked whether anything came."""
    assert connection.transport is not None
    connection.transport.write(b"def")


async def test_an_answer_is_heard_though_the_upload_was_cut_off_behind_it(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = pair
    connection = await uploading(ours)
    theirs.send(answer(status=b"413 Too Large", body=b"too big"))
    theirs.close()  # with bytes unread: the kernel resets
    go_on(connection)
    message, body = await connection.read()
    assert (message.code, await body.read()) == (413, b"too big")


async def test_an_answer_is_heard_though_whoever_uploads_learns_first_that_it_was_cut_off(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = pair
    connection = await uploading(ours)
    reading = asyncio.create_task(connection.read())
    await asyncio.sleep(0)
    theirs.send(answer(status=b"413 Too Large", body=b"too big"))
    theirs.close()
    go_on(connection)
    go_on(connection)  # which over TCP is the one that fails
    connection.set_exception(aiohttp.ClientOSError(None, "Can not write request body"))
    message, body = await reading
    assert (message.code, await body.read()) == (413, b"too big")


@pytest.mark.parametrize("chunk", [0, 10_000])
async def test_a_long_answer_is_heard_whole_though_the_upload_was_cut_off_behind_it(
    pair: tuple[socket.socket, socket.socket], chunk: int
) -> None:
    ours, theirs = pair
    connection = await uploading(ours)
    text = bytes(range(256)) * 400  # fits what a kernel receives unread
    page = answer(status=b"413 Too Large", body=text)
    if chunk:
        parts = [text[at : at + chunk] for at in range(0, len(text), chunk)]
        framed = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in [*parts, b""])
        page = answer(b"Transfer-Encoding: chunked", status=b"413 Too Large", body=None) + framed
    theirs.sendall(page)
    theirs.close()
    go_on(connection)
    message, body = await connection.read()
    assert (message.code, await body.read()) == (413, text)


@pytest.mark.parametrize("head", [b"Transfer-Encoding: chunked\t", None], ids=["no chunks", "without end"])
async def test_what_follows_an_answer_that_was_turned_away_is_never_one(
    pair: tuple[socket.socket, socket.socket], head: bytes | None
) -> None:
    ours, theirs = pair
    connection = await uploading(ours)
    codes = []

    async def read_all() -> None:
        while True:
            codes.append((await connection.read())[0].code)

    reading = asyncio.create_task(read_all())
    await asyncio.sleep(0)
    theirs.send(answer(body=b"forged"))
    if head is None:
        connection.data_received(b"HTTP/1.1 102 Wait\r\n\r\n" * 100)
    else:
        connection.data_received(answer(head, body=None))
    connection.set_exception(aiohttp.ClientOSError(None, "Can not write request body"))
    theirs.close()
    go_on(connection)
    with pytest.raises((aiohttp.ClientError, OSError)):
        await reading
    assert set(codes) <= {102}


async def test_an_answer_that_was_cut_off_with_the_upload_is_not_whole(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = pair
    connection = await uploading(ours)
    theirs.send(answer(status=b"413 Too Large", body=b"too big")[:-1])
    theirs.close()
    go_on(connection)
    message, body = await connection.read()
    assert message.code == 413
    with pytest.raises(aiohttp.ClientPayloadError):
        await body.read()


async def test_an_upload_that_was_cut_off_without_an_answer_fails(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = pair
    connection = await uploading(ours)
    theirs.close()
    go_on(connection)
    with pytest.raises(aiohttp.ClientConnectionError):
        await connection.read()


async def test_an_answer_is_heard_though_only_the_end_of_a_chunked_upload_could_not_be_written() -> None:
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, what: complaints.append(what))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        host, port = listener.getsockname()

        async def parts() -> AsyncIterator[bytes]:
            yield b"abc"
            theirs, _ = listener.accept()
            theirs.send(answer(status=b"413 Too Large", body=b"too big"))
            theirs.close()  # with bytes unread: the kernel resets
            yield b"def"  # fails, and nothing of this process has been told yet

        async with (
            upstream_session(1.0, ssl.create_default_context()) as session,
            session.put(f"http://{host}:{port}/", data=UploadBody(parts())) as said,
        ):
            assert (said.status, await said.read()) == (413, b"too big")
    gc.collect()
    assert complaints == []
