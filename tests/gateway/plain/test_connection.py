"""A connection to an upstream that fails: what came before is still heard."""

from __future__ import annotations

import asyncio
import gc
import socket
import ssl
from typing import TYPE_CHECKING

import aiohttp
import pytest

from bascule.gateway.plain.client import UploadBody, upstream_session
from bascule.gateway.plain.connection import UpstreamConnection
from bascule.gateway.tls.handshake import connect_tls
from tests.gateway.plain_support import answer
from tests.support.certificates import make_certificate

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from tests.support.certificates import Certificate

    Uploading = Callable[[], Awaitable[UpstreamConnection]]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """Make one."""
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(params=["tcp", "unix", "tls"])
def pair(
    request: pytest.FixtureRequest, certificate: Certificate
) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Return both ends of a connection: ours and the upstream's."""
    if request.param == "unix":
        ours, theirs = socket.socketpair()
    else:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            ours = socket.create_connection(listener.getsockname())
            theirs, _ = listener.accept()
    if request.param == "tls":
        theirs.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # or what it says may wait for our ACK
        context = certificate.server()
        theirs = context.wrap_socket(theirs, server_side=True, do_handshake_on_connect=False)
    ours.setblocking(False)
    with ours, theirs:
        yield ours, theirs


@pytest.fixture
def uploading(pair: tuple[socket.socket, socket.socket], certificate: Certificate) -> Uploading:
    """Make a connection on which the first part of an upload was sent, and nothing was received."""
    ours, theirs = pair

    async def begin() -> UpstreamConnection:
        loop = asyncio.get_running_loop()
        connection = UpstreamConnection(loop)
        if isinstance(theirs, ssl.SSLSocket):
            connecting = connect_tls(ours, certificate.client(), "localhost", lambda: connection)
            await asyncio.gather(connecting, asyncio.to_thread(theirs.do_handshake))
        else:
            await loop.create_connection(lambda: connection, sock=ours)
        assert connection.transport is not None
        connection.set_response_params()
        connection.transport.write(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc")
        return connection

    return begin


def go_on(connection: UpstreamConnection) -> None:
    """Send the next part, before the loop has looked whether anything came."""
    assert connection.transport is not None
    connection.transport.write(b"def")


async def test_an_answer_is_heard_though_the_upload_was_cut_off_behind_it(
    pair: tuple[socket.socket, socket.socket], uploading: Uploading
) -> None:
    _, theirs = pair
    connection = await uploading()
    theirs.send(answer(status=b"413 Too Large", body=b"too big"))
    theirs.close()  # with bytes unread: the kernel resets
    go_on(connection)
    message, body = await connection.read()
    assert (message.code, await body.read()) == (413, b"too big")


async def test_an_answer_is_heard_though_whoever_uploads_learns_first_that_it_was_cut_off(
    pair: tuple[socket.socket, socket.socket], uploading: Uploading
) -> None:
    _, theirs = pair
    connection = await uploading()
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
    pair: tuple[socket.socket, socket.socket], uploading: Uploading, chunk: int
) -> None:
    _, theirs = pair
    connection = await uploading()
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
    pair: tuple[socket.socket, socket.socket], uploading: Uploading, head: bytes | None
) -> None:
    _, theirs = pair
    connection = await uploading()
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
    pair: tuple[socket.socket, socket.socket], uploading: Uploading
) -> None:
    _, theirs = pair
    connection = await uploading()
    theirs.send(answer(status=b"413 Too Large", body=b"too big")[:-1])
    theirs.close()
    go_on(connection)
    message, body = await connection.read()
    assert message.code == 413
    with pytest.raises(aiohttp.ClientPayloadError):
        await body.read()


async def test_an_upload_that_was_cut_off_without_an_answer_fails(
    pair: tuple[socket.socket, socket.socket], uploading: Uploading
) -> None:
    _, theirs = pair
    connection = await uploading()
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
