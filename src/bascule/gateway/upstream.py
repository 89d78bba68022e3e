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
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

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
from bascule.gateway.legs import Deadline, Leg, deadlines
from bascule.gateway.pumpedleg import PumpedLeg
from bascule.gateway.resolver import Resolver, Unresolvable
from bascule.gateway.tlshandshake import connect_tls
from bascule.policy.agreements import Agreements
from bascule.policy.socketoptions import keepalive_start, session_options, unix_options
from bascule.protocol.body import Framing, framing_of
from bascule.protocol.handshake import Agreement, Offer, upgrade_request
from bascule.protocol.http1 import END_OF_HEAD, BadHead, ResponseHead, has_bare_line_feed
from bascule.protocol.tlsfailure import alert, errno_name, tls_failure

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from bascule.gateway.connecting import SocketAddress
    from bascule.gateway.fence import Fence
    from bascule.gateway.resolver import Address
    from bascule.policy.config import Config
    from bascule.policy.routes import UpstreamAddress

__all__ = ["Answered", "BadAnswer", "Begun", "Dial", "Dialler", "NoRoom", "Switched", "Unreachable"]

Begun: TypeAlias = "list[tuple[socket.socket, SocketAddress]]"
"""A connection that is not established yet, and where it leads; at most one."""

_HTTP: Final = b"HTTP/"
"""How an answer begins."""

_ENDED: Final = errno.ECONNRESET
"""How an upstream is treated that has ended before it answered: like one that has reset the connection."""


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

    def dial(
        self, address: UpstreamAddress, target: bytes, fields: list[tuple[bytes, bytes]], offer: Offer
    ) -> Dial:
        """Return what opens one connection and asks for a session.

        Args:
            address: Where the route leads.
            target: Request target, byte for byte.
            fields: The fields that are forwarded.
            offer: What the browser offers.
        """
        return Dial(self, address, target, fields, offer)

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
        connection = bare_socket(family, NONBLOCKING_STREAM)
        is_unix = family is socket.AF_UNIX
        for option in self._unix_options if is_unix else self._options:
            connection.setsockopt(*option)
        if not is_unix:
            connection.setsockopt(*keepalive_start(self._sockets, random.random()))
        return connection


class Dial:
    """One opening handshake with an upstream.

    `begin` goes as far as that takes no wait, which on the same node is up to the answer. `hear` goes on from
    there: once the connection is established, and once there is an answer. In all other cases `finish` does,
    in a task, from whatever has been reached.
    """

    __slots__ = (
        "_address", "_begun", "_connecting", "_deadline", "_dialler", "_failed", "_fields", "_heard", "_key",
        "_leg", "_not_connected", "_offer", "_target", "_unsent",
    )  # fmt: skip

    def __init__(
        self, dialler: Dialler, address: UpstreamAddress, target: bytes, fields: list[tuple[bytes, bytes]],
        offer: Offer,
    ) -> None:  # fmt: skip
        self._dialler = dialler
        self._address = address
        self._target = target
        self._fields = fields
        self._offer = offer
        self._begun: Begun = []
        self._leg: Leg | None = None
        self._connecting: Deadline | None = None
        self._not_connected = 0
        self._failed = 0  # the number of an error: with itself we would keep the frames that keep us
        self._heard = b""

    def begin(self, arrived: Callable[[], None]) -> bool:
        """Connect, send the upgrade request, and let ``arrived`` be called when there is something to `hear`.

        Returns:
            Whether it will be called. Otherwise `finish` must be awaited.
        """
        found = self._dialler.begin_connect(self._address, self._begun)
        if found is None:
            return False
        leg, is_established = found
        if not is_established:
            return self._await_connection(leg, arrived)
        self._ask(leg)
        if self._unsent or self._failed:
            return False
        try:
            leg.expect(arrived)
        except OSError as error:
            self._failed = error.errno or errno.EIO
            return False
        return True

    def _await_connection(self, leg: AnsweringLeg, arrived: Callable[[], None]) -> bool:
        self._leg = leg
        try:
            leg.expect_connected(arrived)
        except OSError as error:
            self._not_connected = error.errno or errno.EIO
            return False
        self._connecting = Deadline(leg, self._dialler.connect_deadlines)
        self._dialler.connect_deadlines.enter(self._connecting)
        return True

    def _ask_if_connected(self, leg: AnsweringLeg) -> bool:
        """Send the upgrade request if the connection is established; tell whether it was sent whole."""
        connecting, self._connecting = self._connecting, None
        assert connecting is not None
        self._dialler.connect_deadlines.leave(connecting)
        self._not_connected = errno.ETIMEDOUT if connecting.expired else leg.connect_error()
        if not self._not_connected:
            self._ask(leg)
            if not (self._unsent or self._failed):
                return True
        leg.forget()
        return False

    def hear(self) -> Switched | None:
        """Read the answer after ``arrived`` was called, which is not called again.

        Returns:
            A true 101; ``None`` for anything else, or if it has not all come: `finish` must be awaited.

        Raises:
            BlockingIOError: There is no answer yet; ``arrived`` will be called again.
        """
        leg, dialler = self._leg, self._dialler
        assert isinstance(leg, AnsweringLeg)
        if self._connecting is not None:
            if self._ask_if_connected(leg):
                raise BlockingIOError
            return None
        try:
            data = leg.read_now()
        except BlockingIOError:
            raise
        except OSError as error:
            leg.forget()
            self._failed = error.errno or errno.EIO
            return None
        leg.forget()
        if not data:
            self._failed = _ENDED
            return None
        self._heard = data
        size = data.find(END_OF_HEAD) + len(END_OF_HEAD)
        if size < len(END_OF_HEAD) or size > dialler.longest_head or self._deadline.expired:
            return None
        try:
            agreement = dialler.agreements.read(data[:size], self._offer, self._key)
        except BadHead:
            return None
        if not isinstance(agreement, Agreement):
            return None
        dialler.deadlines.leave(self._deadline)
        return Switched(leg, agreement, data[size:])

    def give_up(self) -> None:
        """Close the connection instead of waiting for ``arrived``."""
        leg = self._leg
        assert isinstance(leg, AnsweringLeg)
        leg.forget()
        if self._connecting is not None:
            self._dialler.connect_deadlines.leave(self._connecting)
        else:
            self._dialler.deadlines.leave(self._deadline)
        leg.close()

    async def finish(self) -> Switched | Answered:
        """Go on from what was reached, until the answer is read and checked.

        Raises:
            Unreachable: The upstream did not answer.
            NoRoom: This host lacks what the connection needs.
            BadAnswer: The answer is neither a valid 101 nor a usable HTTP answer.

        Cancellation: safe; the connection is closed.
        """
        leg = self._leg
        if leg is None:
            leg = await self._dialler.connect(self._address, self._begun)
            self._ask(leg)
        elif self._not_connected:
            leg.close()
            raise self._dialler.not_connected(self._address, OSError(self._not_connected, "connect"))
        deadline = self._deadline
        try:
            try:
                if self._failed:
                    raise OSError(self._failed, "handshake")
                if self._unsent:
                    await leg.write(self._unsent)
                head, early = await self._read_head(leg)
            finally:
                self._dialler.deadlines.leave(deadline)
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

    def _ask(self, leg: Leg) -> None:
        """Send the upgrade request, as far as the connection takes it at once."""
        self._leg = leg
        self._key = b2a_base64(os.urandom(16), newline=False)
        self._unsent = b""
        self._deadline = Deadline(leg, self._dialler.deadlines)
        try:
            self._unsent = leg.write_now(upgrade_request(self._target, self._key, self._fields))
        except OSError as error:
            self._failed = error.errno or errno.EIO
        self._dialler.deadlines.enter(self._deadline)

    async def _read_head(self, leg: Leg) -> tuple[Agreement | ResponseHead, bytes]:
        """Read one final response head, skipping interim ones (RFC 9110 §15.2)."""
        data = self._heard or await _read_more(leg)
        limit = self._dialler.longest_head
        while True:
            end = data.find(END_OF_HEAD)
            size = len(data) if end < 0 else end + len(END_OF_HEAD)
            if size > limit:
                raise BadAnswer("response head over limits.requestHeadBytes")
            if end < 0:
                if not data.startswith(_HTTP[: len(data)]):  # another protocol, or TLS: it never ends a head
                    raise BadAnswer("not valid HTTP")
                if has_bare_line_feed(data):
                    raise BadAnswer("a bare line feed in the response head")
                data += await _read_more(leg)
                continue
            try:
                head = self._dialler.agreements.read(data[:size], self._offer, self._key)
            except BadHead as error:
                raise BadAnswer(error.detail) from error
            data = data[size:]
            if isinstance(head, Agreement) or head.status >= 200:
                return head, data
            limit -= size  # one limit for all heads together, so that interim ones cannot follow without end


async def _read_more(leg: Leg) -> bytes:
    """Read what comes next; if that is the end, the upstream has died, which is treated like a reset."""
    if chunk := await leg.read():
        return chunk
    raise OSError(_ENDED, "ended before it answered")


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
