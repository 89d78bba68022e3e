"""A leg whose socket cannot be handed over: it has TLS, or there was no other descriptor for it.

When it lets go, the forwarder gets one end of a socket pair, and the gateway pumps the other; so the
forwarder knows one kind of leg.
"""

from __future__ import annotations

import asyncio
import socket
from typing import cast

from bascule.gateway.connections.farewell import close_soon
from bascule.gateway.connections.legs import CHUNK, has_ended, reset
from bascule.gateway.tls.pump import pump

__all__ = ["PumpedLeg"]


class PumpedLeg(asyncio.Protocol):
    """See `bascule.gateway.connections.legs.Leg`. It is its transport's protocol until it lets go.

    Args:
        is_full: Whether the transport has asked the protocol before this one to write no more.
    """

    __slots__ = (
        "_closed",
        "_error",
        "_has_ended",
        "_heard",
        "_is_full",
        "_is_lost",
        "_transport",
        "_waiting",
    )

    def __init__(self, *, is_full: bool = False) -> None:
        self._transport: asyncio.Transport
        self._heard = bytearray()
        self._has_ended = False
        self._is_full = is_full  # whether the transport takes no more
        self._is_lost = False
        self._error: Exception | None = None
        self._closed = False
        self._waiting: list[asyncio.Future[None]] = []

    # -- the transport's protocol ------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to read; called once, with the connection to use."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's do not derive from asyncio's

    def data_received(self, data: bytes) -> None:
        """Keep what came; read no more while that is not fetched."""
        self._heard += data
        if len(self._heard) >= CHUNK:
            self._transport.pause_reading()
        self._wake()

    def eof_received(self) -> bool:
        """Note the end; the connection can still be written to."""
        self._has_ended = True
        self._wake()
        return True

    def pause_writing(self) -> None:
        """Let `write` wait."""
        self._is_full = True

    def resume_writing(self) -> None:
        """Let `write` go on."""
        self._is_full = False
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """Let nobody wait any longer."""
        self._is_lost = self._has_ended = True
        self._error = exc and exc.with_traceback(None)
        self._wake()

    def _wake(self) -> None:
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)
        self._waiting.clear()

    async def _wait(self) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        await waiter

    # -- the leg -------------------------------------------------------------------------------

    async def read(self) -> bytes:
        """See `Leg.read`."""
        while not (self._heard or self._has_ended):
            await self._wait()
        if not self._heard:
            self._raise_error()
        data = bytes(self._heard[:CHUNK])
        del self._heard[:CHUNK]
        if len(self._heard) < CHUNK and not self._transport.is_closing():
            self._transport.resume_reading()
        return data

    def write_now(self, data: bytes) -> bytes:
        """See `Leg.write_now`; a transport does not tell how much it could take, so this writes nothing."""
        return data

    async def write(self, data: bytes) -> None:
        """See `Leg.write`."""
        self._transport.write(data)
        while self._is_full and not self._is_lost:
            await self._wait()
        if self._is_lost:
            self._raise_error()
            raise ConnectionResetError

    def let_go(self) -> socket.socket:
        """See `Leg.let_go`."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.setblocking(False)
        heard = bytes(self._heard)
        pump(self._transport, ours, heard, has_ended=self._has_ended, is_full=self._is_full)
        return theirs

    def end(self) -> None:
        """See `Leg.end`; TLS has no half-close that peers agree on."""

    def close(self) -> None:
        """See `Leg.close`; bytes already written are still sent: see `close_soon`."""
        if not self._closed:
            self._closed = True
            close_soon(self._transport)

    def reset(self) -> None:
        """See `Leg.reset`."""
        reset(self._transport)

    def is_gone(self) -> bool:
        """See `Leg.is_gone`."""
        if self._has_ended or self._transport.is_closing():
            return True
        return has_ended(self._transport.get_extra_info("socket"))

    def interrupt(self) -> None:
        """See `Leg.interrupt`."""
        self._transport.abort()

    def _raise_error(self) -> None:
        """Raise what ended the connection, once."""
        # The frames of an error that is kept would keep us, until the cycle collector looks.
        error, self._error = self._error, None
        try:
            if error is not None:
                raise error
        finally:
            del error
