"""Upstreams that speak TLS: how they are checked, and what is said of those that cannot be."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import struct
import subprocess
import threading
from typing import TYPE_CHECKING

import pytest

from bascule.gateway.plain.client import UploadBody, upstream_session
from tests.gateway.plain_support import Peer, World, answer, request_head
from tests.support.certificates import make_certificate
from tests.support.mutual import asking_for_certificates
from tests.support.parts import require

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


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


@pytest.mark.parametrize("how", ["ends TLS", "ends the connection", "resets the connection"])
async def test_an_answer_that_only_its_end_ends_is_whole_if_the_connection_has_not_failed(
    world: World, authority: tuple[ssl.SSLContext, ssl.SSLContext], how: str
) -> None:
    """Servers of Jupyter, Streamlit and Python itself never end TLS: see docs/decisions/0006-tls.md."""
    server, client = authority

    async def script(peer: Peer) -> None:
        await peer.message()
        await peer.send(answer(body=None) + b"all there is")
        if how == "ends TLS":
            return
        descriptor = peer.writer.get_extra_info("socket").fileno()
        with socket.socket(fileno=os.dup(descriptor)) as connection:
            if how == "ends the connection":
                connection.shutdown(socket.SHUT_WR)
                await peer.ended()
            else:
                await relayed.wait()
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                peer.writer.transport.abort()

    relayed = asyncio.Event()
    upstream = await world.upstream(script, server)
    front = await world.front(upstream, tls=client, upstream_host="localhost")
    browser = await front.connect()
    await browser.send(request_head(b"/"))
    head = await browser.head()
    assert head.value(b"Transfer-Encoding") == b"chunked"
    body = b""
    chunks = browser.chunks()
    body += await anext(chunks)
    relayed.set()
    if how == "resets the connection":
        with pytest.raises(asyncio.IncompleteReadError):
            await anext(chunks)
    else:
        async for part in chunks:
            body += part
    assert body == b"all there is"
    assert front.failures == (how == "resets the connection")


async def test_an_early_answer_of_an_https_upstream_is_heard_though_the_upload_was_cut_off_behind_it(
    authority: tuple[ssl.SSLContext, ssl.SSLContext],
) -> None:
    server, client = authority

    def serve() -> None:
        accepted, _ = listener.accept()
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with server.wrap_socket(accepted, server_side=True) as theirs:
            theirs.recv(65536)
            theirs.sendall(answer(status=b"413 Too Large", body=b"too big"))
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    async def parts() -> AsyncIterator[bytes]:
        yield b"abc"
        serving.join(10)  # and the loop does not look meanwhile
        yield b"def"
        yield b"ghi"

    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = threading.Thread(target=serve)
        serving.start()
        url = f"https://localhost:{listener.getsockname()[1]}/"
        async with (
            upstream_session(5.0, client) as session,
            session.put(url, data=UploadBody(parts())) as said,
        ):
            assert (said.status, await said.read()) == (413, b"too big")
