"""Who is heard out, and who does not let a closed connection go, is bounded in number and in time."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import time
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
import uvloop

from bascule.gateway.connections import farewell as module
from bascule.gateway.connections import readiness
from bascule.gateway.connections.bounded import Bounded
from bascule.gateway.connections.farewell import FAREWELL_SECONDS, Farewells, close_soon, farewell
from bascule.gateway.connections.legs import PlainLeg
from bascule.gateway.connections.taking import taken
from bascule.gateway.tls.handshake import accept_tls
from bascule.gateway.tls.pump import pump
from bascule.gateway.tls.pumpedleg import PumpedLeg
from tests.support.certificates import make_certificate
from tests.support.farends import tcp_pair
from tests.support.waiting import eventually_async

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from bascule.gateway.tls.transport import TlsTransport
    from tests.support.certificates import Certificate

SHORT = 0.2
"""Seconds that a peer may take nothing."""

SOON = 10 * SHORT
"""Seconds in which it is cut then; asyncio would wait 30 s for the end of TLS."""


async def test_beyond_the_bound_who_has_been_heard_out_longest_goes_at_once() -> None:
    loop = asyncio.get_running_loop()
    pairs = [socket.socketpair() for _ in range(3)]
    leaving = Bounded(2)
    legs = []
    for _, ours in pairs:
        ours.setblocking(False)
        legs.append(PlainLeg(loop, ours))
    tasks = []
    for leg in legs:
        tasks.append(asyncio.create_task(farewell(leg, lambda _: False, leaving)))
        await asyncio.sleep(0)  # it has begun to listen

    await asyncio.wait_for(tasks[0], FAREWELL_SECONDS / 4)  # though its peer says nothing
    assert len(leaving) == 2
    assert not any(task.done() for task in tasks[1:])
    for peer, _ in pairs:
        peer.close()
    await asyncio.gather(*tasks)
    assert len(leaving) == 0
    for leg in legs:
        leg.close()


async def test_a_time_that_is_up_and_a_bound_that_is_reached_are_one_end() -> None:
    leaving = Bounded(1)
    peer, ours = socket.socketpair()
    ours.setblocking(False)
    with closing(peer), closing(PlainLeg(asyncio.get_running_loop(), ours)) as leg:
        task = asyncio.create_task(farewell(leg, lambda _: False, leaving))
        await asyncio.sleep(0)
        leaving.shed(1)
        leaving.shed(1)
        await asyncio.wait_for(task, FAREWELL_SECONDS / 4)


class WithoutTask:
    """Farewells that need no task, of connections whose peers are at hand."""

    def __init__(self, bound: int = 9) -> None:
        self.leaving = Bounded(bound)
        self.ended: list[int] = []
        self._farewells = Farewells(self.leaving)

    def begin(self, number: int = 0, is_last: Callable[[bytes], bool] = lambda _: False) -> socket.socket:
        peer, ours = socket.socketpair()
        ours.setblocking(False)
        leg = PlainLeg(asyncio.get_running_loop(), ours)

        def over() -> None:
            self.ended.append(number)
            assert ours.fileno() == -1, "it is closed"

        self._farewells.begin(leg, is_last, over)
        return peer

    async def are_over(self, *numbers: int) -> None:
        await eventually_async(lambda: sorted(self.ended) == [*numbers], 5, f"{numbers} are over")


@pytest.mark.parametrize("last", [b"", b"bye"])
async def test_a_farewell_without_a_task_is_over_when_the_peer_has_said_its_last(last: bytes) -> None:
    farewells = WithoutTask()
    heard: list[bytes] = []

    def is_last(data: bytes) -> bool:
        heard.append(data)
        return data == b"bye"

    with farewells.begin(is_last=is_last) as peer:
        peer.send(b"more")
        await eventually_async(lambda: heard == [b"more"], 5, "it is heard")
        assert (farewells.ended, len(farewells.leaving)) == ([], 1)
        if last:
            peer.send(last)
        else:
            peer.shutdown(socket.SHUT_WR)
        await farewells.are_over(0)
        assert peer.recv(1) == b"", "no reset: all that it said was read"
    assert len(farewells.leaving) == 0


async def test_a_farewell_without_a_task_is_over_in_time_though_the_peer_says_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "FAREWELL_SECONDS", SHORT)
    farewells = WithoutTask()
    with farewells.begin():
        await farewells.are_over(0)
    assert len(farewells.leaving) == 0


async def test_beyond_the_bound_the_longest_farewell_without_a_task_is_over_at_once() -> None:
    farewells = WithoutTask(bound=2)
    with farewells.begin(1), farewells.begin(2), farewells.begin(3):
        assert farewells.ended == [1]
    await farewells.are_over(1, 2, 3)


async def test_a_peer_that_never_stops_talking_is_not_heard_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FAREWELL_BYTES", 1000)
    farewells = WithoutTask()
    with farewells.begin() as peer:
        peer.send(bytes(1000))
        await farewells.are_over(0)


async def test_a_connection_that_epoll_does_not_take_gets_no_farewell(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "max_user_watches")

    monkeypatch.setattr(readiness.Readiness, "expect", full)
    farewells = WithoutTask()
    with farewells.begin():
        assert farewells.ended == [0]
    assert len(farewells.leaving) == 0


@pytest.fixture
def certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Certificate:
    monkeypatch.setattr(module, "FAREWELL_SECONDS", SHORT)
    return make_certificate(tmp_path)


@contextlib.asynccontextmanager
async def over_tls(
    certificate: Certificate,
) -> AsyncIterator[tuple[PumpedLeg, TlsTransport, ssl.SSLSocket]]:
    """Connect over TLS; the peer is a blocking socket, which says and takes only what the test wants."""
    ours, theirs = tcp_pair(receive=4096, send=4608)
    theirs.setblocking(True)
    loop = asyncio.get_running_loop()
    wrap = certificate.client().wrap_socket
    shaking = loop.run_in_executor(None, lambda: wrap(theirs, server_hostname="localhost"))
    leg = PumpedLeg()
    transport = await accept_tls(ours, certificate.server(), lambda: leg)
    with await shaking as peer:
        yield leg, transport, peer


def has_ended(transport: TlsTransport) -> bool:
    return taken(transport) is None


@pytest.mark.parametrize(
    "factory", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"]
)
@pytest.mark.parametrize("size", [0, 200_000], ids=["ends no TLS", "takes nothing"])
def test_a_leg_is_cut_that_its_peer_does_not_let_go(
    certificate: Certificate, factory: Callable[[], asyncio.AbstractEventLoop], size: int
) -> None:
    async def refuse() -> None:
        async with over_tls(certificate) as (leg, transport, _):
            transport.write(b"x" * size)
            leg.close()
            leg.close()
            await eventually_async(lambda: has_ended(transport), SOON, "it is cut")

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(refuse())


async def test_a_pump_does_not_wait_for_a_peer_that_does_not_answer_the_end_of_tls(
    certificate: Certificate,
) -> None:
    end, forwarder = socket.socketpair()
    end.setblocking(False)
    async with over_tls(certificate) as (_, transport, _):
        pump(transport, end, b"", has_ended=False)
        forwarder.close()
        await eventually_async(lambda: end.fileno() < 0, SOON, "nothing is left open")
        assert has_ended(transport)


@pytest.mark.parametrize(
    "factory", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"]
)
def test_a_slow_peer_gets_all_before_its_connection_ends(
    certificate: Certificate, factory: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    said = bytes(range(256)) * 800

    def take(peer: ssl.SSLSocket) -> tuple[bytes, float]:
        began = time.monotonic()
        got = b""
        while data := peer.recv(1 << 14):
            got += data
            time.sleep(SHORT / 4)  # it is slow, and takes a record of TLS each time
        return got, time.monotonic() - began

    async def end() -> tuple[bytes, float]:
        async with over_tls(certificate) as (_, transport, peer):
            transport.write(said)
            close_soon(transport)
            return await asyncio.get_running_loop().run_in_executor(None, take, peer)

    with asyncio.Runner(loop_factory=factory) as runner:
        got, took = runner.run(end())
    assert got == said
    assert took > 2 * SHORT


async def test_beyond_the_bound_the_connection_that_was_closed_first_is_cut_at_once(
    certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FAREWELL_SECONDS", 60.0)
    bound = Bounded(1)
    async with over_tls(certificate) as (_, first, _), over_tls(certificate) as (_, second, _):
        close_soon(first, bound)
        assert not has_ended(first)
        close_soon(second, bound)
        await eventually_async(lambda: has_ended(first), 5, "it is cut")
        assert not has_ended(second)
