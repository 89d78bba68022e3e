"""What a forwarder said before it ended reaches a slow peer, and nothing is left behind."""

from __future__ import annotations

import asyncio
import errno
import gc
import select
import socket
import struct
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import pytest
import uvloop

from bascule.gateway.connections import farewell
from bascule.gateway.tls import pump as module
from bascule.gateway.tls.pump import pump
from bascule.gateway.tls.pumpedleg import PumpedLeg
from bascule.handover.descriptors import arrived, queued
from tests.gateway.fewwatches import no_watch_left
from tests.support.certificates import make_certificate
from tests.support.farends import reset_on_close, tcp_pair
from tests.support.tlspeer import secured
from tests.support.waiting import eventually_async

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bascule.gateway.tls.transport import TlsTransport
    from tests.support.tlspeer import TlsPeer

SAID = b"x" * 180_000
"""More than the peer's kernel takes at once; less than the forwarder's end does."""


def is_readable(end: socket.socket) -> bool:
    return bool(select.select([end], [], [], 0)[0])


@pytest.mark.parametrize("in_time", [False, True])
def test_a_slow_peer_that_speaks_as_the_forwarder_ends_still_gets_all(in_time: bool) -> None:
    """What it says comes too late, or lies unread in the connection that is ended."""

    async def take() -> bytes:
        loop = asyncio.get_running_loop()
        ours, peer = tcp_pair(receive=4096, send=4608)
        end, forwarder = socket.socketpair()
        end.setblocking(False)
        transport, _ = await loop.connect_accepted_socket(PumpedLeg, ours)
        pump(transport, end, b"", has_ended=False)
        got = b""
        with peer:
            with forwarder:
                forwarder.sendall(SAID)
                if in_time:
                    await loop.sock_sendall(peer, b"hello")
                    await eventually_async(lambda: is_readable(forwarder), 5, "it is there")
            if not in_time:
                await loop.sock_sendall(peer, b"hello")
            async with asyncio.timeout(10):
                while data := await loop.sock_recv(peer, 4096):
                    got += data
        await eventually_async(lambda: end.fileno() < 0, 5, "nothing is left open")
        return got

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert len(runner.run(take())) == len(SAID)


@pytest.mark.parametrize("first", ["peer", "forwarder"])
def test_a_connection_that_was_reset_leaves_nothing_to_the_cycle_collector(first: str) -> None:
    async def leave() -> None:
        ours, peer = tcp_pair()
        end, forwarder = socket.socketpair()
        end.setblocking(False)
        transport, _ = await asyncio.get_running_loop().connect_accepted_socket(PumpedLeg, ours)
        pump(transport, end, b"", has_ended=False)
        held = type(transport.get_protocol())
        del transport
        if first == "forwarder":
            forwarder.close()
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()
        await eventually_async(lambda: end.fileno() < 0, 5, "the pump has ended")
        forwarder.close()
        await eventually_async(
            lambda: not any(type(one) is held for one in gc.get_objects()), 5, "it is gone"
        )

    gc.disable()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(leave())
    finally:
        gc.enable()


async def fill(peer: TlsPeer, theirs: socket.socket, transport: TlsTransport) -> int:
    """Say more than what is read behind a forwarder that takes nothing; return how much."""
    loop = asyncio.get_running_loop()
    said, unread = 0, 0
    while unread < 3:
        piece = bytes(10_000)
        await loop.sock_sendall(theirs, peer.say(piece))
        said += len(piece)
        await asyncio.sleep(0)
        unread += not transport.is_reading()
    await eventually_async(lambda: queued(theirs.fileno()) == 0, 5, "all has come to this host")
    return said


async def rest(forwarder: socket.socket) -> int:
    """Read to the end; return how much it was."""
    forwarder.setblocking(False)
    got = 0
    async with asyncio.timeout(10):
        while data := await asyncio.get_running_loop().sock_recv(forwarder, 1 << 16):
            got += len(data)
    return got


@pytest.mark.parametrize("how", ["a reset", "an end"])
async def test_what_an_upstream_had_said_is_heard_when_it_takes_no_more(tmp_path: Path, how: str) -> None:
    """As when it says much and a Close behind it, and its browser is slow and still speaks."""
    async with secured(make_certificate(tmp_path), PumpedLeg()) as (transport, peer, theirs):
        end, forwarder = socket.socketpair()
        end.setblocking(False)
        pump(transport, end, b"", has_ended=False)
        said = await fill(peer, theirs, transport)
        if how == "a reset":
            reset_on_close(theirs)
        theirs.close()
        with forwarder:
            while not transport.is_closing():  # the first one only brings the reset about
                forwarder.send(b"not taken any more")
                await asyncio.sleep(0.01)
            assert await rest(forwarder) == said
        await eventually_async(lambda: end.fileno() < 0, 5, "nothing is left open")


async def say_until_full(forwarder: socket.socket, transport: asyncio.Transport) -> int:
    """Say as much as is taken, to a peer that takes nothing; return how much."""
    forwarder.setblocking(False)
    full = said = 0
    while full < 3 or not transport.get_write_buffer_size():
        try:
            said += forwarder.send(bytes(1 << 16))
            full = 0
        except BlockingIOError:
            full += 1
            await asyncio.sleep(0.01)
    return said


@pytest.mark.parametrize("loop", [uvloop.new_event_loop, asyncio.new_event_loop], ids=["uvloop", "asyncio"])
@pytest.mark.parametrize("count", [10_000, 80_000])
def test_what_a_peer_had_said_that_took_nothing_and_was_reset_while_we_were_held_up_is_heard(
    tmp_path: Path, count: int, loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    """Reading and writing are tried in one turn; a write that fails hides the failure from the next read."""

    async def leave() -> int:
        async with secured(make_certificate(tmp_path), PumpedLeg()) as (transport, peer, theirs):
            end, forwarder = socket.socketpair()
            end.setblocking(False)
            pump(transport, end, b"", has_ended=False)
            await say_until_full(forwarder, transport)
            for _ in range(count // 10_000):  # the loop does not turn meanwhile: the process is stopped
                theirs.send(peer.say(bytes(10_000)))
            reset_on_close(theirs)
            theirs.close()
            with forwarder:
                return await rest(forwarder)

    with asyncio.Runner(loop_factory=loop) as runner:
        assert runner.run(leave()) == count


async def test_a_forwarder_that_takes_nothing_is_told_that_the_peer_takes_nothing_more(
    tmp_path: Path,
) -> None:
    """What it said to the peer and nobody reads must not keep it from trying to say more."""
    async with secured(make_certificate(tmp_path), PumpedLeg()) as (transport, peer, theirs):
        end, forwarder = socket.socketpair()
        end.setblocking(False)
        pump(transport, end, b"", has_ended=False)
        await say_until_full(forwarder, transport)
        said = await fill(peer, theirs, transport)
        reset_on_close(theirs)
        theirs.close()
        with forwarder:
            await eventually_async(lambda: select.select([], [forwarder], [], 0)[1], 5, "it is told")
            with pytest.raises(BrokenPipeError):
                forwarder.send(b"more")
            assert await rest(forwarder) == said


@pytest.mark.parametrize("kind", ["TLS", "plain"])
async def test_a_peer_that_takes_nothing_is_cut_when_the_forwarder_has_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Otherwise nothing ends it over a Unix socket, or where `sockets.userTimeout` is 0."""
    monkeypatch.setattr(module, "FAREWELL_SECONDS", 0.1)
    monkeypatch.setattr(farewell, "FAREWELL_SECONDS", 0.1)
    transport: asyncio.Transport
    async with AsyncExitStack() as stack:
        if kind == "TLS":
            transport, _, _ = await stack.enter_async_context(
                secured(make_certificate(tmp_path), PumpedLeg())
            )
        else:
            ours, peer = socket.socketpair()
            stack.callback(peer.close)
            transport, _ = await asyncio.get_running_loop().connect_accepted_socket(PumpedLeg, ours)
        end, forwarder = socket.socketpair()
        end.setblocking(False)
        pump(transport, end, b"", has_ended=False)
        with forwarder:
            await say_until_full(forwarder, transport)
            running: Any = transport.get_protocol()
            first = running._look
            await eventually_async(lambda: bool(running._look is not first), 5, "it was looked")
            assert end.fileno() >= 0, "a session that is not over is not cut"
        await eventually_async(lambda: end.fileno() < 0, 5, "nothing is left open")


async def test_what_lay_in_the_pair_when_the_forwarder_left_reaches_a_peer_that_begins_to_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FAREWELL_SECONDS", 0.05)
    async with secured(make_certificate(tmp_path), PumpedLeg()) as (transport, peer, theirs):
        end, forwarder = socket.socketpair()
        end.setblocking(False)
        pump(transport, end, b"", has_ended=False)
        with forwarder:
            said = await say_until_full(forwarder, transport)
        await eventually_async(transport.is_closing, 5, "it is found out")
        got = 0
        async with asyncio.timeout(10):
            while got < said:
                peer.take(await asyncio.get_running_loop().sock_recv(theirs, 1 << 16))
                got += len(peer.hear()[0])
        assert got == said


async def test_what_waits_for_the_forwarder_is_not_lost_with_the_connection(tmp_path: Path) -> None:
    async with secured(make_certificate(tmp_path), PumpedLeg()) as (transport, peer, theirs):
        end, forwarder = socket.socketpair()
        end.setblocking(False)
        pump(transport, end, b"", has_ended=False)
        await fill(peer, theirs, transport)
        with forwarder:
            waiting = transport.get_protocol()._stash  # type: ignore[attr-defined]
            assert waiting
            said = arrived(forwarder.fileno()) + len(waiting)
            transport.abort()
            assert await rest(forwarder) == said
        await eventually_async(lambda: end.fileno() < 0, 5, "nothing is left open")


async def test_what_a_leg_has_heard_is_passed_on_though_its_connection_was_lost(tmp_path: Path) -> None:
    leg = PumpedLeg()
    async with secured(make_certificate(tmp_path), leg) as (transport, peer, theirs):
        await asyncio.get_running_loop().sock_sendall(theirs, peer.say(b"Close"))
        await eventually_async(lambda: leg._heard, 5, "it is heard")
        reset_on_close(theirs)
        theirs.close()
        await eventually_async(transport.is_closing, 5, "the connection is lost")
        with leg.let_go() as forwarder:
            assert await rest(forwarder) == len(b"Close")


@pytest.mark.parametrize("count", [10, 100_000])
def test_a_forwarder_that_leaves_with_bytes_of_ours_unread_is_heard_to_its_end(count: int) -> None:
    """The kernel tells of its last words and of the reset together, and uvloop only once."""

    async def take() -> int:
        loop = asyncio.get_running_loop()
        ours, peer = tcp_pair()
        end, forwarder = socket.socketpair()
        end.setblocking(False)
        end.send(b"never read")
        forwarder.sendall(b"x" * count)
        forwarder.close()
        transport, _ = await loop.connect_accepted_socket(PumpedLeg, ours)
        pump(transport, end, b"", has_ended=False)
        got = 0
        with peer:
            async with asyncio.timeout(10):
                while data := await loop.sock_recv(peer, 1 << 16):
                    got += len(data)
        await eventually_async(lambda: end.fileno() < 0, 5, "nothing is left open")
        return got

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(take()) == count


@pytest.mark.parametrize("what", ["end", "stash"])
async def test_a_pair_that_the_loop_cannot_watch_ends_with_its_connection(what: str) -> None:
    loop = asyncio.get_running_loop()
    ours, peer = tcp_pair()
    end, forwarder = socket.socketpair()
    end.setblocking(False)
    transport, _ = await loop.connect_accepted_socket(PumpedLeg, ours)
    with peer, forwarder:
        with no_watch_left():
            pump(
                transport,
                end,
                b"" if what == "end" else bytes(1 << 22),
                has_ended=False,
                is_full=what != "end",
            )
        async with asyncio.timeout(10):
            assert await loop.sock_recv(peer, 1) == b""
        await eventually_async(lambda: end.fileno() < 0, 5, "nothing is left open")


class Lacking(socket.socket):
    """A socket for whose bytes the kernel has no memory."""

    def send(self, *_: Any) -> int:
        raise OSError(errno.ENOBUFS, "No buffer space available")


async def test_a_forwarder_that_lives_hears_the_end_where_the_kernel_takes_no_bytes_for_it() -> None:
    loop = asyncio.get_running_loop()
    ours, peer = tcp_pair()
    pair, forwarder = socket.socketpair()
    end = Lacking(fileno=pair.detach())
    end.setblocking(False)
    forwarder.setblocking(False)
    transport, _ = await loop.connect_accepted_socket(PumpedLeg, ours)
    pump(transport, end, b"", has_ended=False)
    with peer:
        async with asyncio.timeout(10):
            await loop.sock_sendall(peer, b"hello")
            assert await loop.sock_recv(forwarder, 1) == b""
            await loop.sock_sendall(forwarder, b"goodbye")
            assert await loop.sock_recv(peer, 9) == b"goodbye"
            forwarder.close()
            assert await loop.sock_recv(peer, 1) == b""
    await eventually_async(lambda: end.fileno() < 0, 5, "nothing is left open")
