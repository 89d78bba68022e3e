"""What the tests of dialling an upstream share."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from bascule.configuration.certificate import upstream_context
from bascule.gateway.upstreams.dialler import Dialler, Unreachable
from bascule.gateway.upstreams.fence import Fence
from bascule.gateway.upstreams.handshake import Answered, Dial, Switched
from bascule.policy.routes import UpstreamAddress
from bascule.protocol.handshake import Offer

if TYPE_CHECKING:
    from bascule.configuration.config import Config

OFFER = Offer(b"", (), frozenset(), b"front", None)
SILENT, SPEAKING, REFUSING = "127.0.0.2", "127.0.0.3", "127.0.0.4"


def dialler_of(config: Config) -> Dialler:
    return Dialler(config, upstream_context(config.upstream_tls), Fence(()))


async def opening(dialler: Dialler, address: UpstreamAddress, *what: Any) -> Switched | Answered:
    """Do what the admission does to open a connection and to hear the answer."""
    dial, arrived = Dial(dialler, address, *what), asyncio.Event()
    expects = dial.begin(arrived.set)
    while expects:
        try:
            await arrived.wait()
        except asyncio.CancelledError:
            dial.give_up()
            raise
        arrived.clear()
        with contextlib.suppress(BlockingIOError):
            if (switched := dial.hear()) is not None:
                return switched
            expects = False
    return await dial.finish()


async def known(dialler: Dialler, port: int) -> UpstreamAddress:
    """Return an address that has been looked up."""
    address = UpstreamAddress("http", "apps", port, b"apps")
    with contextlib.suppress(Unreachable):
        (await opening(dialler, address, b"/", [], OFFER)).leg.close()
    return address


async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Be an upstream that has no such path."""
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
    writer.close()
