"""A transport for TLS that keeps little, whatever records its peer sends and however it ends."""

from __future__ import annotations

import asyncio
import contextlib
import select
import socket
import ssl
import threading
import time
from typing import TYPE_CHECKING

import pytest
import uvloop

from bascule.gateway import tlstransport as module
from bascule.gateway.pumpedleg import PumpedLeg
from bascule.gateway.tlshandshake import accept_tls, connect_tls
from bascule.gateway.tlsrecords import RECORD
from tests.support.certificates import make_certificate
from tests.support.farends import reset_on_close, tcp_pair
from tests.support.parts import require
from tests.support.tlspeer import secured
from tests.support.waiting import eventually_async, throughout

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from bascule.gateway.tlstransport import TlsTransport
    from tests.support.certificates import Certificate
    from tests.support.tlspeer import TlsPeer

BOTH = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]
LOOPS = {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("certificate"))


def client(certificate: Certificate, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> ssl.SSLContext:
    context = certificate.client()
    context.minimum_version = context.maximum_version = version
    return context


def in_thread(work: Callable[[], object]) -> None:
    threading.Thread(target=work, daemon=True).start()


@contextlib.asynccontextmanager
async def accepted(
    certificate: Certificate, peer: Callable[[ssl.SSLSocket], object], context: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[PumpedLeg, TlsTransport]]:
    """Accept TLS from a peer, which a thread plays with a blocking socket."""
    ours, theirs = tcp_pair()
    theirs.setblocking(True)
    wanted = context or client(certificate)

    def play() -> None:
        with contextlib.suppress(OSError), wanted.wrap_socket(theirs, server_hostname="localhost") as secure:
            peer(secure)

    in_thread(play)
    leg = PumpedLeg()
    transport = await accept_tls(ours, certificate.server(), lambda: leg)
    try:
        yield leg, transport
    finally:
        transport.abort()


async def heard(leg: PumpedLeg, count: int) -> bytes:
    got = b""
    async with asyncio.timeout(10):
        while len(got) < count and (data := await leg.read()):
            got += data
    return got


def is_readable(connection: socket.socket) -> bool:
    unread = select.poll()
    unread.register(connection, select.POLLIN)
    return bool(unread.poll(0))


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


@pytest.mark.parametrize("slow", [False, True], ids=["", "read little by little"])
async def test_a_record_for_each_byte_is_heard(
    certificate: Certificate, monkeypatch: pytest.MonkeyPatch, slow: bool
) -> None:
    if slow:
        monkeypatch.setattr(module, "_SLOW", -1.0)
    said = bytes(range(256)) * 12

    def drip(peer: ssl.SSLSocket) -> None:
        for place in range(len(said)):
            peer.sendall(said[place : place + 1])
        peer.sendall(said * 100)
        peer.recv(1)

    async with accepted(certificate, drip) as (leg, _):
        assert await heard(leg, 101 * len(said)) == said + said * 100


async def test_behind_a_peer_that_reads_nothing_only_what_was_written_waits(certificate: Certificate) -> None:
    over = threading.Event()
    async with accepted(certificate, lambda _: over.wait(10)) as (leg, transport):
        writing = asyncio.ensure_future(leg.write(bytes(1 << 23)))
        await eventually_async(lambda: transport.get_write_buffer_size() > 0, 5, "it waits")
        assert transport.get_write_buffer_size() < (1 << 23) + (1 << 17)
        transport.abort()
        with pytest.raises(ConnectionResetError):
            await writing
        assert transport.get_write_buffer_size() == 0
    over.set()


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


async def test_behind_a_peer_that_floods_with_requests_for_new_keys_and_reads_nothing_little_waits(
    certificate: Certificate,
) -> None:
    loop = asyncio.get_running_loop()
    leg = PumpedLeg()
    async with secured(certificate, leg, receive=4096, send=4608) as (transport, peer, theirs):
        flooding = asyncio.ensure_future(loop.sock_sendall(theirs, peer.ask(12_000) + peer.say(b"hello")))
        await eventually_async(
            lambda: transport.get_write_buffer_size() > module._MOST_OWED // 2, 10, "answers wait"
        )
        # An answer is as long as its request.
        most = module._MOST_OWED + module._READ_AT_ONCE
        waiting: list[int] = []
        await throughout(0.3, lambda: waiting.append(transport.get_write_buffer_size()), tick=0.01)
        assert max(waiting) <= most
        assert not leg._heard
        while not leg._heard:
            peer.take(await loop.sock_recv(theirs, 1 << 16))
        assert await heard(leg, 5) == b"hello"
        await flooding
        writing = asyncio.ensure_future(leg.write(b"and answered"))
        while not (said := peer.hear()[0]):
            peer.take(await loop.sock_recv(theirs, 1 << 16))
        assert said == b"and answered"
        await writing


async def test_a_flood_of_requests_for_new_keys_holds_nobody_up_for_long(certificate: Certificate) -> None:
    leg = PumpedLeg()
    async with secured(certificate, leg) as (_, peer, theirs):
        flood = peer.ask(20_000) + peer.say(b"hello")
        theirs.setblocking(True)

        def drain() -> None:
            with contextlib.suppress(OSError):
                while theirs.recv(1 << 16):
                    pass

        in_thread(lambda: theirs.sendall(flood))
        in_thread(drain)
        turns = []
        before = time.thread_time()
        while not leg._heard:
            await asyncio.sleep(0)
            now = time.thread_time()
            turns.append(now - before)
            before = now
        assert await heard(leg, 5) == b"hello"
        # The first may have begun with little in its window, and the second shows what the peer is like.
        assert sum(turn > module._SLOW for turn in turns) <= 2
        socket.socket.shutdown(theirs, socket.SHUT_RDWR)


async def test_a_protocol_that_is_slow_itself_is_still_given_much_at_once(certificate: Certificate) -> None:
    got: list[int] = []

    class Slow(asyncio.Protocol):
        def data_received(self, data: bytes) -> None:
            got.append(len(data))
            until = time.thread_time() + 2 * module._SLOW
            while len(got) <= 3 and time.thread_time() < until:
                pass

    begin = threading.Event()

    def say(peer: ssl.SSLSocket) -> None:
        begin.wait(10)
        peer.sendall(bytes(1 << 20))
        peer.recv(1)

    async with accepted(certificate, say) as (_, transport):
        transport.set_protocol(Slow())
        begin.set()
        await eventually_async(lambda: sum(got) == 1 << 20, 10, "it has all")
    assert max(got[1:]) > RECORD, "and not a record at a time"


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
    certificate: Certificate,
) -> AsyncIterator[tuple[TlsTransport, TlsPeer, socket.socket]]:
    """Close a transport that has written while its peer had begun another handshake."""
    loop = asyncio.get_running_loop()
    async with secured(certificate, PumpedLeg(), is_server=True) as (transport, peer, theirs):
        await loop.sock_sendall(theirs, peer.begin_anew())
        await eventually_async(lambda: is_readable(theirs), 5, "we begin")
        transport.write(bytes(600))
        transport.close()
        yield transport, peer, theirs


async def test_a_close_sends_what_had_to_wait_for_another_handshake(certificate: Certificate) -> None:
    loop = asyncio.get_running_loop()
    async with closing_in_a_handshake(certificate) as (transport, peer, theirs):
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


class Noted(asyncio.Protocol):
    """Notes what its peer says, and that the connection is over."""

    def __init__(self) -> None:
        self.heard = 0
        self.over = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        self.heard += len(data)

    def connection_lost(self, _error: Exception | None) -> None:
        self.over.set()


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("count", [6, 40_000, 200_000])
def test_a_reset_that_comes_with_bytes_ends_the_connection(
    certificate: Certificate, count: int, loop: str
) -> None:
    """uvloop tells of both together, and only once."""

    async def work() -> None:
        ours, theirs = tcp_pair()
        theirs.setblocking(True)
        has_left = threading.Event()

        def leave() -> None:
            secure = client(certificate).wrap_socket(theirs, server_hostname="localhost")
            has_begun.wait(10)
            secure.settimeout(1)
            with contextlib.suppress(TimeoutError):  # the kernel takes no more
                secure.sendall(b"x" * count)
            reset_on_close(secure)
            secure.close()
            has_left.set()

        has_begun = threading.Event()
        in_thread(leave)
        noted = Noted()
        transport = await accept_tls(ours, certificate.server(), lambda: noted)
        transport.pause_reading()
        has_begun.set()
        await asyncio.to_thread(has_left.wait, 10)
        transport.resume_reading()
        async with asyncio.timeout(10):
            await noted.over.wait()
        assert 0 < noted.heard <= count

    run(work(), loop)
