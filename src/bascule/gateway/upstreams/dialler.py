"""Connections to upstreams: names, addresses, time-outs, TLS.

Two ways to fail: an upstream that cannot be reached (`Unreachable`: refused, timed out, unresolvable, off
limits), or a host of ours that has nothing left to reach one with (`NoRoom`).
"""

from __future__ import annotations

import random
import socket
from typing import TYPE_CHECKING, Final

from bascule.errors import BasculeError
from bascule.gateway.connections.connecting import (
    NONBLOCKING_STREAM,
    bare_socket,
    begin_connect,
    connect,
    lacks_room,
)
from bascule.gateway.connections.legs import Deadline, deadlines
from bascule.gateway.connections.patience import Patience
from bascule.gateway.connections.readiness import Readiness, WatchedLeg
from bascule.gateway.tls.handshake import connect_tls
from bascule.gateway.tls.pumpedleg import PumpedLeg
from bascule.gateway.upstreams.candidates import Candidates
from bascule.gateway.upstreams.fence import AddressRefused
from bascule.gateway.upstreams.resolver import Resolver, Unresolvable
from bascule.policy.agreements import Agreements
from bascule.policy.socketoptions import keepalive_start, session_options, unix_options
from bascule.protocol.tlsfailure import errno_name, tls_failure

if TYPE_CHECKING:
    import ssl

    from bascule.configuration.config import Config
    from bascule.gateway.connections.connecting import SocketAddress
    from bascule.gateway.connections.legs import Leg
    from bascule.gateway.connections.waits import Waits
    from bascule.gateway.upstreams.fence import Fence
    from bascule.gateway.upstreams.resolver import Address
    from bascule.policy.routes import UpstreamAddress

__all__ = ["Dialler", "NoRoom", "Unreachable"]

_MOST_SHARES: Final = 64
"""Most parts into which the time to connect is divided without a task; each has a timer."""


class Unreachable(BasculeError):
    """The upstream cannot be reached; the text says how, for the log."""


class NoRoom(BasculeError):
    """This host has no descriptor, memory or port left for an upstream; the text says which, for the log."""


class _TlsFailed(OSError):
    """TCP connected, and TLS did not; the text says how, for the log."""


class Dialler:
    """Opens upstream connections.

    Args:
        config: Time-outs, limits and socket options.
        tls: The TLS context for upstreams.
        fence: Says which addresses a host that a URL named may have.

    Attributes:
        connect_deadlines: For connections that are being made, by how many addresses share the time.
        deadlines: For the answers to requests that were sent.
        longest_head: Most bytes of an answer's head, interim ones included.
        agreements: Reads answers, and remembers what they agree to.
    """

    def __init__(self, config: Config, tls: ssl.SSLContext, fence: Fence) -> None:
        self._limits = config.limits
        self.connect_deadlines: dict[int, Waits[Deadline]] = {}
        self.deadlines = deadlines(config.limits.upstream_handshake_timeout)
        self.longest_head = config.limits.request_head_bytes
        self._readiness = Readiness()
        self.agreements = Agreements(config.limits.request_fields)
        self._sockets = config.sockets
        self._options = session_options(config.sockets, browser=False)
        self._unix_options = unix_options()
        self._resolver = Resolver()
        self._tls = tls
        self._fence = fence

    def begin_connect(self, address: UpstreamAddress) -> WatchedLeg | Candidates | None:
        """Connect, if nothing but the connection itself has to be waited for.

        In the usual case the name was resolved lately. On the same node the network answers at once, and an
        address that refuses makes way for the next.

        Returns:
            The connection, if it is established; else what is left to try. ``None`` if all is up to
            `connect`, because the name has to be looked up, because of TLS, or because none is permitted.
        """
        found = self._resolver.known(address.host, address.port)
        if found is None or address.scheme == "https":
            return None
        candidates: Candidates | None = None
        try:
            permitted = self._permitted(address, found)
        except OSError:
            return None
        for family, where in permitted:
            connection: socket.socket | None = None
            try:
                connection = self._socket(family)
                if begin_connect(connection, where):
                    return WatchedLeg(self._readiness, connection)
            except OSError as error:
                if connection is not None:
                    connection.close()
                if isinstance(error, BlockingIOError):
                    break  # it has to be tried again after a while
                candidates = candidates or Candidates(permitted, self._limits.connect_timeout)
                candidates.failed(error, 0.0)
            else:
                candidates = candidates or Candidates(permitted, self._limits.connect_timeout)
                candidates.begun = connection
                break
        return candidates

    def leg(self, connection: socket.socket) -> WatchedLeg:
        """Return the leg of a connection without TLS that is being established."""
        return WatchedLeg(self._readiness, connection)

    def connect_deadline(self, leg: Leg, addresses: int) -> Deadline:
        """Give the first of so many addresses its share of the time to connect."""
        number = min(addresses, _MOST_SHARES)
        if (waits := self.connect_deadlines.get(number)) is None:
            waits = self.connect_deadlines[number] = deadlines(self._limits.connect_timeout / number)
        return Deadline(leg, waits)

    async def connect(self, address: UpstreamAddress, candidates: Candidates | None) -> Leg:
        """Connect to the first address that accepts the connection.

        Args:
            address: Where to.
            candidates: What was begun, if anything was.

        Raises:
            Unreachable: No address did, or not in time.
            NoRoom: This host lacks what the connection needs.
        """
        try:
            if candidates is None:
                candidates = await self._look_up(address)
            return await self._connect_in_turn(address, candidates)
        except Unresolvable as error:
            raise Unreachable("name does not resolve") from error
        except (_TlsFailed, AddressRefused) as error:
            raise Unreachable(str(error)) from error
        except OSError as error:
            self._resolver.doubt(address.host)
            if isinstance(error, TimeoutError):
                raise Unreachable("connect timed out") from error
            why = NoRoom if lacks_room(error) else Unreachable
            raise why(f"connect failed: {errno_name(error)}") from error

    async def _look_up(self, address: UpstreamAddress) -> Candidates:
        async with Patience(self._limits.connect_timeout) as patience:
            found = await self._resolver.resolve(
                address.host, address.port, named_by_url=address.named_by_url
            )
        return Candidates(self._permitted(address, found), patience.left)

    async def _connect_in_turn(self, address: UpstreamAddress, candidates: Candidates) -> Leg:
        """Try the addresses that are left; a connect that has begun to the first of them goes on."""
        while candidates.left:
            family, where = candidates.address
            patience = Patience(share := candidates.share)
            connection, candidates.begun = candidates.begun, None
            try:
                if connection is None:
                    connection = self._socket(family)
                return await self._connect_to(address, connection, where, patience)
            except OSError as error:  # this address's time is up, or the connect failed
                if connection is not None:
                    connection.close()
                candidates.failed(error, share - patience.left)
            except BaseException:
                if connection is not None:
                    connection.close()
                raise
        raise candidates.failure

    def _permitted(self, address: UpstreamAddress, found: list[Address]) -> list[Address]:
        """Return the addresses that may be connected to; raises `AddressRefused` if there is none."""
        return self._fence.permitted(found, _place) if address.named_by_url else found

    async def _connect_to(
        self,
        address: UpstreamAddress,
        connection: socket.socket,
        where: SocketAddress,
        patience: Patience,
    ) -> Leg:
        """Connect to one address; if that fails, the caller still owns the connection."""
        is_connected = False
        try:
            async with patience:
                await connect(connection, where)
                if address.scheme != "https":
                    return WatchedLeg(self._readiness, connection)
                is_connected = True
                leg = PumpedLeg()
                await connect_tls(connection, self._tls, address.host, lambda: leg)
                return leg
        except OSError as error:
            if is_connected:
                raise _TlsFailed(tls_failure(error)) from error
            raise

    def _socket(self, family: socket.AddressFamily) -> socket.socket:
        connection = bare_socket(family, NONBLOCKING_STREAM)
        is_unix = family is socket.AF_UNIX
        for option in self._unix_options if is_unix else self._options:
            connection.setsockopt(*option)
        if not is_unix:
            connection.setsockopt(*keepalive_start(self._sockets, random.random()))
        return connection


def _place(found: Address) -> tuple[str, int]:
    """Return address and port of what a look-up found."""
    where = found[1]
    assert not isinstance(where, str), "no URL names a Unix socket"
    host, port, *_ = where
    assert isinstance(host, str)
    assert isinstance(port, int)
    return host, port
