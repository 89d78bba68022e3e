"""New keys and new handshakes within a connection change nothing for who reads and writes it."""

from __future__ import annotations

import asyncio
import contextlib
import select
import socket
from typing import TYPE_CHECKING

import pytest

from bascule.gateway.tls.handshake import accept_tls, connect_tls
from bascule.gateway.tls.pumpedleg import PumpedLeg
from tests.gateway.tls_support import heard
from tests.support.parts import require
from tests.support.tlspeer import secured
from tests.support.waiting import eventually_async

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from bascule.gateway.tls.transport import TlsTransport
    from tests.support.certificates import Certificate
    from tests.support.tlspeer import TlsPeer


def is_readable(connection: socket.socket) -> bool:
    unread = select.poll()
    unread.register(connection, select.POLLIN)
    return bool(unread.poll(0))


async def openssl(*arguments: str | Path) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        require("openssl"),
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )


async def order(process: asyncio.subprocess.Process, command: bytes) -> None:
    """Give an interactive openssl a line."""
    assert process.stdin is not None
    process.stdin.write(command + b"\n")
    await process.stdin.drain()


async def until(process: asyncio.subprocess.Process, word: bytes) -> bytes:
    assert process.stdout is not None
    async with asyncio.timeout(10):
        return await process.stdout.readuntil(word)


async def test_new_keys_change_nothing(certificate: Certificate) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        host, port = listening.getsockname()
        process = await openssl("s_client", "-tls1_3", "-connect", f"{host}:{port}")
        try:
            ours, _ = await asyncio.get_running_loop().sock_accept(listening)
            leg = PumpedLeg()
            transport = await accept_tls(ours, certificate.server(), lambda: leg)
            for number in range(5):
                await order(process, b"K")  # new keys, and a request for ours
                await until(process, b"KEYUPDATE")
                await order(process, b"hello %d" % number)
                assert await heard(leg, 8) == b"hello %d\n" % number
                await leg.write(b"answer %d" % number)
                await until(process, b"answer %d" % number)
            transport.abort()
        finally:
            process.kill()
            await process.wait()


async def test_a_server_may_begin_another_handshake_while_we_write(certificate: Certificate) -> None:
    """As one does that asks for a certificate only where it is needed (TLS 1.2)."""
    pair = ("-cert", certificate.certificate, "-key", certificate.key)
    process = await openssl("s_server", "-tls1_2", "-accept", "127.0.0.1:0", *pair)
    try:
        said = await until(process, b"ACCEPT 127.0.0.1:")
        assert process.stdout is not None
        port = int(said.rpartition(b":")[2] or await process.stdout.readline())
        connection = socket.create_connection(("127.0.0.1", port))
        connection.setblocking(False)
        leg = PumpedLeg()
        transport = await connect_tls(connection, certificate.client(), "localhost", lambda: leg)
        for number in range(3):
            await order(process, b"r")
            for place in range(20):
                await leg.write(b"<%d.%d>" % (number, place))
            await until(process, b"<%d.19>" % number)
            await order(process, b"after %d" % number)
            assert await heard(leg, 8) == b"after %d\n" % number
        transport.abort()
    finally:
        process.kill()
        await process.wait()


@pytest.mark.parametrize("high", [0, 1000], ids=["any byte", "more than a thousand"])
async def test_who_must_not_write_in_another_handshake_may_afterwards(
    certificate: Certificate, high: int
) -> None:
    """A pump, which reads no more from its forwarder when anything waits."""
    loop = asyncio.get_running_loop()
    leg = PumpedLeg()
    async with secured(certificate, leg, is_server=True) as (transport, peer, theirs):
        transport.set_write_buffer_limits(high=high)
        await loop.sock_sendall(theirs, peer.begin_anew())
        await eventually_async(lambda: is_readable(theirs), 5, "we begin")
        writing = [asyncio.ensure_future(leg.write(bytes(600))) for _ in range(2)]
        await asyncio.sleep(0)
        assert transport.get_write_buffer_size() == 1200
        assert leg._is_full
        got = b""
        async with asyncio.timeout(10):
            while len(got) < 1200:
                peer.take(await loop.sock_recv(theirs, 1 << 16))
                said, answer = peer.hear()
                got += said
                await loop.sock_sendall(theirs, answer)
            await asyncio.gather(*writing)


@contextlib.asynccontextmanager
async def closing_in_a_handshake(
    certificate: Certificate, *, paused: bool = False
) -> AsyncIterator[tuple[TlsTransport, TlsPeer, socket.socket]]:
    """Close a transport that has written while its peer had begun another handshake."""
    loop = asyncio.get_running_loop()
    async with secured(certificate, PumpedLeg(), is_server=True) as (transport, peer, theirs):
        await loop.sock_sendall(theirs, peer.begin_anew())
        await eventually_async(lambda: is_readable(theirs), 5, "we begin")
        transport.write(bytes(600))
        if paused:
            transport.pause_reading()
        transport.close()
        yield transport, peer, theirs


@pytest.mark.parametrize("paused", [False, True], ids=["", "though its protocol had enough for now"])
async def test_a_close_sends_what_had_to_wait_for_another_handshake(
    certificate: Certificate, paused: bool
) -> None:
    loop = asyncio.get_running_loop()
    async with closing_in_a_handshake(certificate, paused=paused) as (transport, peer, theirs):
        got = b""
        async with asyncio.timeout(10):
            while sealed := await loop.sock_recv(theirs, 1 << 16):
                peer.take(sealed)
                said, answer = peer.hear()
                got += said
                await loop.sock_sendall(theirs, answer)
        assert got == bytes(600)
        theirs.close()
        await eventually_async(lambda: transport.get_extra_info("socket").fileno() < 0, 5, "it has ended")


async def test_a_close_waits_for_no_handshake_whose_peer_has_ended(certificate: Certificate) -> None:
    async with closing_in_a_handshake(certificate) as (transport, _, theirs):
        theirs.shutdown(socket.SHUT_WR)
        await eventually_async(lambda: transport.get_extra_info("socket").fileno() < 0, 5, "it has ended")
