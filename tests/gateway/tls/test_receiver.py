"""What a peer sends is opened whatever its records are, and no turn takes long."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from typing import TYPE_CHECKING

import pytest

from bascule.gateway.tls import receiver as tlsreceiver
from bascule.gateway.tls.pumpedleg import PumpedLeg
from bascule.gateway.tls.records import RECORD
from tests.gateway.tls_support import accepted, heard, in_thread
from tests.support.tlspeer import secured
from tests.support.waiting import eventually_async

if TYPE_CHECKING:
    import ssl

    from tests.support.certificates import Certificate


@pytest.mark.parametrize("slow", [False, True], ids=["", "read little by little"])
async def test_a_record_for_each_byte_is_heard(
    certificate: Certificate, monkeypatch: pytest.MonkeyPatch, slow: bool
) -> None:
    if slow:
        monkeypatch.setattr(tlsreceiver, "_SLOW", -1.0)
    said = bytes(range(256)) * 12

    def drip(peer: ssl.SSLSocket) -> None:
        for place in range(len(said)):
            peer.sendall(said[place : place + 1])
        peer.sendall(said * 100)
        peer.recv(1)

    async with accepted(certificate, drip) as (leg, _):
        assert await heard(leg, 101 * len(said)) == said + said * 100


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
        assert sum(turn > tlsreceiver._SLOW for turn in turns) <= 2
        socket.socket.shutdown(theirs, socket.SHUT_RDWR)


async def test_a_protocol_that_is_slow_itself_is_still_given_much_at_once(certificate: Certificate) -> None:
    got: list[int] = []

    class Slow(asyncio.Protocol):
        def data_received(self, data: bytes) -> None:
            got.append(len(data))
            until = time.thread_time() + 2 * tlsreceiver._SLOW
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
