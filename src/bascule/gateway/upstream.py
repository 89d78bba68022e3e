"""The upstream side of an opening handshake: resolve, connect, ask, check the answer.

Five outcomes: a true 101 (`Switched`), another HTTP answer (`Answered`), an answer that is not
valid (`BadAnswer`), an upstream that cannot be reached (`Unreachable`: refused, timed out,
unresolvable, off limits, or gone before it answered), or a host of ours that has nothing left to
reach one with (`NoRoom`). Bytes from the browser are not sent before the 101 is checked.
"""

from __future__ import annotations

import asyncio
import errno
import os
import random
import socket
from binascii import b2a_base64
from typing import TYPE_CHECKING, NamedTuple

from bascule.errors import BasculeError
from bascule.gateway.answers import AnsweringLeg, Answers
from bascule.gateway.connecting import NONBLOCKING_STREAM, begin_connect, connect, lacks_room
from bascule.gateway.fence import AddressRefused
from bascule.gateway.legs import Deadline, Leg, deadlines
from bascule.gateway.pumpedleg import PumpedLeg
from bascule.gateway.resolver import Resolver, Unresolvable
from bascule.gateway.tlshandshake import connect_tls
from bascule.policy.agreements import Agreements
from bascule.policy.socketoptions import keepalive_start, session_options, unix_options
from bascule.protocol.handshake import Agreement, Offer, upgrade_request
from bascule.protocol.http1 import (
    END_OF_HEAD,
    BadHead,
    Framing,
    ResponseHead,
    framing_of,
    has_bare_line_feed,
)
from bascule.protocol.tlsfailure import alert, errno_name, tls_failure

if TYPE_CHECKING:
    import ssl

    from bascule.gateway.connecting import SocketAddress
    from bascule.gateway.fence import Fence
    from bascule.gateway.resolver import Address
    from bascule.policy.config import Config
    from bascule.policy.routes import UpstreamAddress

__all__ = ["Answered", "BadAnswer", "Dialler", "NoRoom", "Switched", "Unreachable"]


class Switched(NamedTuple):
    """The upstream said a true 101.

    Attributes:
        leg: Its connection.
        agreement: What was agreed, with all fields of the browser's 101 but its own.
        early: Bytes after the head: the first frames.
    """

    leg: Leg
    agreement: Agreement
    early: bytes


class Answered(NamedTuple):
    """The upstream gave another answer.

    Attributes:
        leg: Its connection, from which the rest of the body is still to be read.
        head: The answer's.
        early: The body's beginning.
        framing: Where the body ends.
    """

    leg: Leg
    head: ResponseHead
    early: bytes
    framing: Framing


class Unreachable(BasculeError):
    """The upstream cannot be reached; the text says how, for the log."""


class NoRoom(BasculeError):
    """This host has no descriptor, memory or port left for an upstream; the text says which, for the log."""


class _TlsFailed(OSError):
    """TCP connected, and TLS did not; the text says how, for the log."""


class BadAnswer(BasculeError):
    """The upstream's answer is neither a valid 101 nor a usable HTTP answer."""


class Dialler:
    """Opens upstream connections.

    Args:
        config: Time-outs, limits and socket options.
        tls: The TLS context for upstreams.
        fence: Says which addresses a host that a URL named may have.
    """

    def __init__(self, config: Config, tls: ssl.SSLContext, fence: Fence) -> None:
        self._limits = config.limits
        self._deadlines = deadlines(config.limits.upstream_handshake_timeout)
        self._answers = Answers()
        self._agreements = Agreements(config.limits.request_fields)
        self._sockets = config.sockets
        self._options = session_options(config.sockets, browser=False)
        self._unix_options = unix_options()
        self._resolver = Resolver()
        self._tls = tls
        self._fence = fence

    async def open(
        self, address: UpstreamAddress, target: bytes, fields: list[tuple[bytes, bytes]], offer: Offer
    ) -> Switched | Answered:
        """Connect, send the upgrade request, and check the answer.

        Args:
            address: Where the route leads.
            target: Request target, byte for byte.
            fields: The fields that are forwarded.
            offer: What the browser offers.

        Raises:
            Unreachable: The upstream did not answer.
            NoRoom: This host lacks what the connection needs.
            BadAnswer: The answer is neither a valid 101 nor a usable HTTP answer.

        Cancellation: safe; the connection is closed.
        """
        leg = await self._connect(address)
        key = b2a_base64(os.urandom(16), newline=False)
        deadline = Deadline(leg, self._deadlines)
        try:
            rest = leg.write_now(upgrade_request(target, key, fields))
            with deadline:
                if rest:
                    await leg.write(rest)
                head, early = await self._read_head(leg, offer, key)
            if deadline.expired:  # the head had arrived before the deadline shut the connection down
                raise ConnectionAbortedError
        except (OSError, BadAnswer) as error:
            leg.close()
            if deadline.expired:
                raise Unreachable("handshake timed out") from error
            if isinstance(error, BadAnswer):
                raise
            raise Unreachable(_failure(error)) from error
        except BaseException:
            leg.close()
            raise
        if isinstance(head, Agreement):
            return Switched(leg, head, early)
        try:
            return Answered(leg, head, early, framing_of(head))
        except BadHead as error:
            leg.close()
            raise BadAnswer(error.detail) from error

    async def _read_head(self, leg: Leg, offer: Offer, key: bytes) -> tuple[Agreement | ResponseHead, bytes]:
        """Read one final response head, skipping interim ones (RFC 9110 §15.2)."""
        data = await self._read_more(leg)
        limit = self._limits.request_head_bytes
        while True:
            end = data.find(END_OF_HEAD)
            size = len(data) if end < 0 else end + len(END_OF_HEAD)
            if size > limit:
                raise BadAnswer("response head over limits.requestHeadBytes")
            if end < 0:
                if has_bare_line_feed(data):
                    raise BadAnswer("a bare line feed in the response head")
                data += await self._read_more(leg)
                continue
            try:
                head = self._agreements.read(data[:size], offer, key)
            except BadHead as error:
                raise BadAnswer(error.detail) from error
            data = data[size:]
            if isinstance(head, Agreement) or head.status >= 200:
                return head, data
            limit -= size  # one limit for all heads together, so that interim ones cannot follow without end

    async def _read_more(self, leg: Leg) -> bytes:
        """Read what comes next; if that is the end, the upstream has died, which is treated like a reset."""
        if chunk := await leg.read():
            return chunk
        raise ConnectionResetError(errno.ECONNRESET, "ended before it answered")

    async def _connect(self, address: UpstreamAddress) -> Leg:
        """Connect to the first address that accepts the connection.

        Raises:
            Unreachable: No address did, or not in time.
            NoRoom: This host lacks what the connection needs.
        """
        begun: list[tuple[socket.socket, SocketAddress]] = []
        try:
            addresses = self._resolver.known(address.host, address.port)
            if addresses is not None and address.scheme != "https":
                # In the usual case the name was resolved lately and the network answers at once, so no
                # time-out is needed; anything slower goes on below.
                family, where = self._permitted(address, addresses)[0]
                try:
                    connection = self._socket(family)
                    begun.append((connection, where))
                    if begin_connect(connection, where):
                        begun.clear()
                        return AnsweringLeg(self._answers, connection)
                except OSError:
                    pass  # All addresses are tried below, this one again.
            return await self._connect_in_turn(address, begun)
        except TimeoutError as error:
            self._resolver.doubt(address.host)
            raise Unreachable("connect timed out") from error
        except Unresolvable as error:
            raise Unreachable("name does not resolve") from error
        except (_TlsFailed, AddressRefused) as error:
            raise Unreachable(str(error)) from error
        except OSError as error:
            self._resolver.doubt(address.host)
            why = NoRoom if lacks_room(error) else Unreachable
            raise why(f"connect failed: {errno_name(error)}") from error
        finally:
            for connection, _ in begun:
                connection.close()

    async def _connect_in_turn(
        self, address: UpstreamAddress, begun: list[tuple[socket.socket, SocketAddress]]
    ) -> Leg:
        """Try the addresses in turn; a connect that has begun to the first one goes on.

        Each address gets an equal share of the time that is left, so that a silent one leaves some for the
        others. If all fail, an upstream's fault is told rather than one of this host: an address that needs
        IPv6, which this host lacks or has no address of, may stand beside one that refuses.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._limits.connect_timeout
        failure: OSError | None = None
        async with asyncio.timeout_at(deadline):
            found = await self._resolver.resolve(
                address.host, address.port, named_by_url=address.named_by_url
            )
            addresses = self._permitted(address, found)
        for number, (family, where) in enumerate(addresses):
            now = loop.time()
            until = now + (deadline - now) / (len(addresses) - number)
            connection: socket.socket | None = None
            try:
                connection = begun.pop()[0] if begun and begun[0][1] == where else self._socket(family)
                return await self._connect_to(address, connection, where, until)
            except OSError as error:  # this address's time is up, or the connect failed
                if connection is not None:
                    connection.close()
                if failure is None or not _is_ours(error):
                    failure = error
            except BaseException:
                if connection is not None:
                    connection.close()
                raise
        raise failure or OSError(errno.EHOSTUNREACH, "no address")

    def _permitted(self, address: UpstreamAddress, found: list[Address]) -> list[Address]:
        """Return the addresses that may be connected to; raises `AddressRefused` if there is none."""
        return self._fence.permitted(found, _place) if address.named_by_url else found

    async def _connect_to(
        self, address: UpstreamAddress, connection: socket.socket, where: SocketAddress, until: float
    ) -> Leg:
        """Connect to one address; if that fails, the caller still owns the connection."""
        async with asyncio.timeout_at(until):
            await connect(connection, where)
        if address.scheme != "https":
            return AnsweringLeg(self._answers, connection)
        leg = PumpedLeg()
        try:
            async with asyncio.timeout_at(until):
                await connect_tls(connection, self._tls, address.host, lambda: leg)
        except OSError as error:
            raise _TlsFailed(tls_failure(error)) from error
        return leg

    def _socket(self, family: socket.AddressFamily) -> socket.socket:
        connection = socket.socket(family, NONBLOCKING_STREAM, 0)
        is_unix = family is socket.AF_UNIX
        for level, option, value in self._unix_options if is_unix else self._options:
            connection.setsockopt(level, option, value)
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


def _failure(error: OSError) -> str:
    """Return how a handshake failed after the connect, in our own words."""
    return f"handshake failed: {errno_name(error)}" if alert(error) is None else tls_failure(error)
