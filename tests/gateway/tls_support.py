"""A connection with TLS whose peer is a thread, for the tests of what reads and writes one."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
from typing import TYPE_CHECKING

from bascule.gateway.tls.handshake import accept_tls
from bascule.gateway.tls.pumpedleg import PumpedLeg
from tests.support.farends import tcp_pair

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from bascule.gateway.tls.transport import TlsTransport
    from tests.support.certificates import Certificate

__all__ = ["accepted", "client", "heard", "in_thread"]


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
