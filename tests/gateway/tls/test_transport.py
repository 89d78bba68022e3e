"""A transport for TLS that ends as its peer and its protocol want."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
from typing import TYPE_CHECKING

import pytest
import uvloop

from bascule.gateway.tls.handshake import accept_tls
from bascule.gateway.tls.pumpedleg import PumpedLeg
from tests.gateway.fewwatches import no_watch_left
from tests.gateway.tls_support import accepted, client, heard
from tests.support.farends import tcp_pair
from tests.support.waiting import eventually_async

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from tests.support.certificates import Certificate

BOTH = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]
LOOPS = {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}


def run(work: Awaitable[None], loop: str = "uvloop") -> None:
    async def whole() -> None:
        await work

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(whole())


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("version", BOTH)
def test_both_sides_get_all_that_the_other_says(
    certificate: Certificate, version: ssl.TLSVersion, loop: str
) -> None:
    said = bytes(range(256)) * 4096

    def echo(peer: ssl.SSLSocket) -> None:
        while data := peer.recv(5000):
            peer.sendall(data)

    async def work() -> None:
        async with accepted(certificate, echo, client(certificate, version)) as (leg, _):
            sending = asyncio.ensure_future(leg.write(said))
            assert await heard(leg, len(said)) == said
            await sending

    run(work(), loop)


@pytest.mark.parametrize("version", BOTH)
async def test_the_handshake_ends_though_nothing_is_written(
    certificate: Certificate, version: ssl.TLSVersion
) -> None:
    """With TLS 1.2 the client waits for our last words before it says anything."""
    async with accepted(certificate, lambda peer: peer.sendall(b"hello"), client(certificate, version)) as (
        leg,
        _,
    ):
        assert await heard(leg, 5) == b"hello"


async def test_what_comes_in_one_packet_with_the_end_of_the_handshake_is_heard(
    certificate: Certificate,
) -> None:
    ours, theirs = tcp_pair()
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = client(certificate).wrap_bio(incoming, outgoing, server_hostname="localhost")
    loop = asyncio.get_running_loop()
    leg = PumpedLeg()
    accepting = asyncio.ensure_future(accept_tls(ours, certificate.server(), lambda: leg))
    with theirs:
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                await loop.sock_sendall(theirs, outgoing.read())
                incoming.write(await loop.sock_recv(theirs, 1 << 16))
        tls.write(b"early")
        await loop.sock_sendall(theirs, outgoing.read())
        assert await heard(leg, 5) == b"early"
        (await accepting).abort()


async def test_a_peer_that_has_ended_still_gets_what_is_written(certificate: Certificate) -> None:
    got: list[bytes] = []

    def end(peer: ssl.SSLSocket) -> None:
        with contextlib.suppress(ssl.SSLError):
            peer.settimeout(10)
            socket.socket.shutdown(peer, socket.SHUT_WR)
        while data := peer.recv(1 << 16):
            got.append(data)
        got.append(b"end")

    async with accepted(certificate, end) as (leg, _):
        assert await leg.read() == b""
        await leg.write(b"late")
        leg.close()
        await eventually_async(lambda: got[-1:] == [b"end"], 5, "it has all")
    assert got == [b"late", b"end"]


async def test_a_close_tells_the_peer_that_tls_ends_and_waits_for_its_own_end(
    certificate: Certificate,
) -> None:
    got: list[bytes] = []
    ends = threading.Event()

    def listen(peer: ssl.SSLSocket) -> None:
        peer.suppress_ragged_eofs = False  # type: ignore[attr-defined]
        got.append(peer.recv(10))
        got.append(peer.recv(10))  # raises if TLS did not end
        peer.sendall(b"nobody listens")
        ends.wait(10)

    async with accepted(certificate, listen) as (_, transport):
        transport.write(b"last")
        transport.close()
        await eventually_async(lambda: got == [b"last", b""], 5, "it was told")
        assert transport.get_extra_info("socket").fileno() >= 0
        ends.set()
        await eventually_async(lambda: transport.get_extra_info("socket").fileno() < 0, 5, "it has ended")


@pytest.mark.parametrize("high", [1, 1 << 24], ids=["is full", "is not full"])
async def test_a_leg_lets_go_while_a_slow_peer_has_still_to_take_what_it_wrote(
    certificate: Certificate, high: int
) -> None:
    got = bytearray()
    begin = threading.Event()

    def take(peer: ssl.SSLSocket) -> None:
        begin.wait(10)
        while data := peer.recv(1 << 16):
            got.extend(data)

    async with accepted(certificate, take) as (leg, transport):
        transport.set_write_buffer_limits(high=high)
        transport.write(bytes(1 << 23))
        assert transport.get_write_buffer_size() > 0
        with leg.let_go() as forwarder:
            forwarder.send(b"more")
            begin.set()
            await eventually_async(lambda: got.endswith(b"more"), 10, "it has all")
    assert len(got) == (1 << 23) + 4


async def test_bytes_that_are_no_tls_end_the_connection(certificate: Certificate) -> None:
    def break_off(peer: ssl.SSLSocket) -> None:
        peer.sendall(b"good")
        socket.socket.sendall(peer, b"\x17\x03\x03\x00\x20" + b"x" * 32)
        peer.recv(1)

    async with accepted(certificate, break_off) as (leg, _):
        assert await heard(leg, 4) == b"good"
        with pytest.raises(ssl.SSLError):
            await leg.read()


@pytest.mark.parametrize("what", ["reading", "writing"])
async def test_a_connection_that_the_loop_cannot_watch_ends(certificate: Certificate, what: str) -> None:
    release = threading.Event()

    async with accepted(certificate, lambda _: release.wait(10)) as (leg, transport):
        transport.pause_reading()
        with no_watch_left():
            if what == "reading":
                transport.resume_reading()
            else:
                transport.write(bytes(1 << 23))
        async with asyncio.timeout(10):
            with pytest.raises(OSError, match="No space left"):
                await leg.read()
        assert transport.get_write_buffer_size() == 0
        release.set()
