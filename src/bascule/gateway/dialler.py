"""Connections to upstreams: names, addresses, time-outs, TLS.

Two ways to fail: an upstream that cannot be reached (`Unreachable`: refused, timed out, unresolvable, off
limits), or a host of ours that has nothing left to reach one with (`NoRoom`).
"""

from __future__ import annotations

import errno
import random
import socket
from typing import TYPE_CHECKING, TypeAlias

from bascule.errors import BasculeError
from bascule.gateway.answers import AnsweringLeg, Answers
from bascule.gateway.connecting import (
    NONBLOCKING_STREAM,
    bare_socket,
    begin_connect,
    connect,
    lacks_room,
)
from bascule.gateway.fence import AddressRefused
from bascule.gateway.legs import deadlines
from bascule.gateway.patience import Patience
from bascule.gateway.pumpedleg import PumpedLeg
from bascule.gateway.resolver import Resolver, Unresolvable
from bascule.gateway.tlshandshake import connect_tls
from bascule.policy.agreements import Agreements
from bascule.policy.socketoptions import keepalive_start, session_options, unix_options
from bascule.protocol.tlsfailure import errno_name, tls_failure

if TYPE_CHECKING:
    import ssl

    from bascule.gateway.connecting import SocketAddress
    from bascule.gateway.fence import Fence
    from bascule.gateway.legs import Leg
    from bascule.gateway.resolver import Address
    from bascule.policy.config import Config
    from bascule.policy.routes import UpstreamAddress

__all__ = ["Begun", "Dialler", "NoRoom", "Unreachable"]

Begun: TypeAlias = "list[tuple[socket.socket, SocketAddress]]"
"""A connection that is not established yet, and where it leads; at most one."""


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
        connect_deadlines: For connections that are being made.
        deadlines: For the answers to requests that were sent.
        longest_head: Most bytes of an answer's head, interim ones included.
        agreements: Reads answers, and remembers what they agree to.
    """

    def __init__(self, config: Config, tls: ssl.SSLContext, fence: Fence) -> None:
        self._limits = config.limits
        self.connect_deadlines = deadlines(config.limits.connect_timeout)
        self.deadlines = deadlines(config.limits.upstream_handshake_timeout)
        self.longest_head = config.limits.request_head_bytes
        self._answers = Answers()
        self.agreements = Agreements(config.limits.request_fields)
        self._sockets = config.sockets
        self._options = session_options(config.sockets, browser=False)
        self._unix_options = unix_options()
        self._resolver = Resolver()
        self._tls = tls
        self._fence = fence

    def begin_connect(self, address: UpstreamAddress, begun: Begun) -> tuple[AnsweringLeg, bool] | None:
        """Connect, if nothing but the connection itself has to be waited for.

        In the usual case the name was resolved lately. On the same node the network answers at once.

        Returns:
            The connection, and whether it is established already; if not, it must be within the time of
            `connect_deadlines`. ``None`` if all is up to `connect`, because the name has to be looked up or
            has several addresses, because of TLS or a failure; then what was begun is in ``begun``.
        """
        try:
            addresses = self._resolver.known(address.host, address.port)
            if addresses is None or address.scheme == "https":
                return None
            permitted = self._permitted(address, addresses)
            family, where = permitted[0]
            connection = self._socket(family)
            begun.append((connection, where))
            is_established = begin_connect(connection, where)
            if is_established or len(permitted) == 1:
                begun.clear()
                return AnsweringLeg(self._answers, connection), is_established
        except (OSError, AddressRefused):
            pass  # `connect` tries all addresses, this one again.
        return None

    async def connect(self, address: UpstreamAddress, begun: Begun) -> Leg:
        """Connect to the first address that accepts the connection; a connect that was begun goes on.

        Raises:
            Unreachable: No address did, or not in time.
            NoRoom: This host lacks what the connection needs.
        """
        try:
            return await self._connect_in_turn(address, begun)
        except Unresolvable as error:
            raise Unreachable("name does not resolve") from error
        except (_TlsFailed, AddressRefused) as error:
            raise Unreachable(str(error)) from error
        except OSError as error:
            raise self.not_connected(address, error) from error
        finally:
            for connection, _ in begun:
                connection.close()

    def not_connected(self, address: UpstreamAddress, error: OSError) -> BasculeError:
        """Return what is to be raised where no address could be connected to: `Unreachable` or `NoRoom`."""
        self._resolver.doubt(address.host)
        if isinstance(error, TimeoutError):
            return Unreachable("connect timed out")
        why = NoRoom if lacks_room(error) else Unreachable
        return why(f"connect failed: {errno_name(error)}")

    async def _connect_in_turn(self, address: UpstreamAddress, begun: Begun) -> Leg:
        """Try the addresses in turn; a connect that has begun to the first one goes on.

        Each address gets an equal share of the time that is left, so that a silent one leaves some for the
        others. If all fail, an upstream's fault is told rather than one of this host: an address that needs
        IPv6, which this host lacks or has no address of, may stand beside one that refuses.
        """
        failure: OSError | None = None
        async with Patience(self._limits.connect_timeout) as patience:
            found = await self._resolver.resolve(
                address.host, address.port, named_by_url=address.named_by_url
            )
            addresses = self._permitted(address, found)
        left = patience.left
        for number, (family, where) in enumerate(addresses):
            share = left / (len(addresses) - number)
            patience = Patience(share)
            connection: socket.socket | None = None
            try:
                connection = begun.pop()[0] if begun and begun[0][1] == where else self._socket(family)
                return await self._connect_to(address, connection, where, patience)
            except OSError as error:  # this address's time is up, or the connect failed
                if connection is not None:
                    connection.close()
                if failure is None or not _is_ours(error):
                    failure = error
            except BaseException:
                if connection is not None:
                    connection.close()
                raise
            left -= share - patience.left
        raise failure or OSError(errno.EHOSTUNREACH, "no address")

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
                    return AnsweringLeg(self._answers, connection)
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


def _is_ours(error: OSError) -> bool:
    """Tell whether this host was the reason why an address was not connected to."""
    return lacks_room(error) or error.errno == errno.EAFNOSUPPORT
