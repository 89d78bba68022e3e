"""A connection is read to its end, though the loop tells of a failure only once."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING

import pytest
import uvloop

from bascule.gateway.tls.handshake import accept_tls
from tests.gateway.tls_support import client, in_thread
from tests.support.farends import reset_on_close, tcp_pair

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from tests.support.certificates import Certificate

LOOPS = {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}


def run(work: Awaitable[None], loop: str = "uvloop") -> None:
    async def whole() -> None:
        await work

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(whole())


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
