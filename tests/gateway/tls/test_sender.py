"""Behind a peer that takes nothing no more waits than was written."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest

from bascule.gateway.tls import receiver as tlsreceiver
from bascule.gateway.tls import sender as tlssender
from bascule.gateway.tls.pumpedleg import PumpedLeg
from tests.gateway.tls_support import accepted, heard
from tests.support.tlspeer import secured
from tests.support.waiting import eventually_async, throughout

if TYPE_CHECKING:
    from tests.support.certificates import Certificate


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


async def test_behind_a_peer_that_floods_with_requests_for_new_keys_and_reads_nothing_little_waits(
    certificate: Certificate,
) -> None:
    loop = asyncio.get_running_loop()
    leg = PumpedLeg()
    async with secured(certificate, leg, receive=4096, send=4608) as (transport, peer, theirs):
        flooding = asyncio.ensure_future(loop.sock_sendall(theirs, peer.ask(12_000) + peer.say(b"hello")))
        await eventually_async(
            lambda: transport.get_write_buffer_size() > tlssender.MOST_OWED // 2, 10, "answers wait"
        )
        # An answer is as long as its request.
        most = tlssender.MOST_OWED + tlsreceiver.READ_AT_ONCE
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
