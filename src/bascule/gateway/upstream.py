"""The upstream side of an opening handshake: resolve, connect, ask, check the answer.

Three outcomes: a true 101 (`Switched`), another answer (`Answered`), or an upstream that
cannot be reached (`Unreachable`: refused, timed out, unresolvable, or gone before it
answered). Bytes of the browser are not sent before the 101 is checked.
"""

from __future__ import annotations

import asyncio
import base64
import errno
import secrets
import socket
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from bascule.gateway.legs import Leg, PlainLeg, PumpedLeg
from bascule.gateway.resolver import Resolver, Unresolvable
from bascule.policy.socketoptions import session_options
from bascule.protocol.handshake import Agreement, Offer, check_response, upgrade_request
from bascule.protocol.http1 import END_OF_HEAD, BadHead, ResponseHead, parse_response_head

if TYPE_CHECKING:
    from bascule.policy.config import Config
    from bascule.policy.routes import UpstreamAddress


@dataclass(frozen=True, slots=True)
class Switched:
    """The upstream said a true 101."""

    leg: Leg
    head: ResponseHead
    agreement: Agreement
    early: bytes


@dataclass(frozen=True, slots=True)
class Answered:
    """The upstream said something else; its body is still to be read from ``leg``."""

    leg: Leg
    head: ResponseHead
    early: bytes


class Unreachable(Exception):
    """The upstream cannot be reached; the text says how, for the log."""


class BadAnswer(Exception):
    """The upstream answered what is neither a true 101 nor a usable HTTP answer."""


class Dialler:
    """Opens upstream connections.

    Args:
        config: Time-outs, limits and socket options.
    """

    def __init__(self, config: Config) -> None:
        self._limits = config.limits
        self._options = session_options(config.sockets, browser=False)
        self._resolver = Resolver()
        self._tls: ssl.SSLContext | None = None

    async def open(
        self, address: UpstreamAddress, target: bytes, fields: list[tuple[bytes, bytes]], offer: Offer
    ) -> Switched | Answered:
        """Dial and shake hands.

        Args:
            address: Where the route leads.
            target: Request target, byte for byte.
            fields: Fields that travel on.
            offer: What the browser offers.

        Raises:
            Unreachable: Nothing was answered.
            BadAnswer: What was answered is no answer.

        Cancellation: safe; the connection is closed.
        """
        try:
            async with asyncio.timeout(self._limits.connect_timeout):
                leg = await self._connect(address)
        except TimeoutError as error:
            raise Unreachable("connect timed out") from error
        except Unresolvable as error:
            raise Unreachable("name does not resolve") from error
        except OSError as error:
            raise Unreachable(f"connect failed: {_name(error)}") from error
        key = base64.b64encode(secrets.token_bytes(16))
        try:
            async with asyncio.timeout(self._limits.upstream_handshake_timeout):
                await leg.write(upgrade_request(target, key, fields))
                head, early = await self._read_head(leg)
        except TimeoutError as error:
            leg.close()
            raise Unreachable("handshake timed out") from error
        except OSError as error:
            leg.close()
            raise Unreachable(f"handshake failed: {_name(error)}") from error
        except BaseException:
            leg.close()
            raise
        if head.status != 101:
            return Answered(leg, head, early)
        agreement = check_response(head, offer, key)
        if agreement is None:
            leg.close()
            raise BadAnswer("a 101 that does not answer our handshake")
        return Switched(leg, head, agreement, early)

    async def _read_head(self, leg: Leg) -> tuple[ResponseHead, bytes]:
        """Read one final response head, skipping interim ones (RFC 9110 §15.2)."""
        data = b""
        limit = self._limits.request_head_bytes
        while True:
            end = data.find(END_OF_HEAD)
            if end < 0:
                if len(data) > limit:
                    raise BadAnswer("response head over limits.requestHeadBytes")
                chunk = await leg.read()
                if not chunk:
                    if data:
                        raise BadAnswer("connection ended inside the response head")
                    raise ConnectionResetError(errno.ECONNRESET, "ended before it answered")
                data += chunk
                continue
            end += len(END_OF_HEAD)
            if end > limit:
                raise BadAnswer("response head over limits.requestHeadBytes")
            try:
                head = parse_response_head(data[:end], self._limits.request_fields)
            except BadHead as error:
                raise BadAnswer(error.detail) from error
            data = data[end:]
            if head.status >= 200 or head.status == 101:
                return head, data

    async def _connect(self, address: UpstreamAddress) -> Leg:
        loop = asyncio.get_running_loop()
        failure: OSError = OSError(errno.EHOSTUNREACH, "no address")
        for family, where in await self._resolver.resolve(address.host, address.port):
            connection = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            try:
                self._prepare(connection)
                await _connect(loop, connection, where)
            except OSError as error:
                connection.close()
                failure = error
                continue
            except BaseException:
                connection.close()
                raise
            if address.scheme != "https":
                return PlainLeg(loop, connection)
            try:
                reader, writer = await asyncio.open_connection(
                    sock=connection, ssl=self._tls_context(), server_hostname=address.host
                )
            except BaseException:
                connection.close()
                raise
            return PumpedLeg(reader, writer)
        raise failure

    def _tls_context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = ssl.create_default_context()
        return self._tls

    def _prepare(self, connection: socket.socket) -> None:
        for level, option, value in self._options:
            connection.setsockopt(level, option, value)


async def _connect(
    loop: asyncio.AbstractEventLoop, connection: socket.socket, where: tuple[object, ...]
) -> None:
    """Connect a non-blocking socket; on loopback it is done at once."""
    code = connection.connect_ex(where)
    if code == 0:
        return
    if code != errno.EINPROGRESS:
        raise OSError(code, "connect")
    done: asyncio.Future[None] = loop.create_future()
    loop.add_writer(connection.fileno(), _wake, done)
    try:
        await done
    finally:
        loop.remove_writer(connection.fileno())
    code = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if code:
        raise OSError(code, "connect")


def _wake(done: asyncio.Future[None]) -> None:
    if not done.done():
        done.set_result(None)


_UNNAMED: Final = "EIO"


def _name(error: OSError) -> str:
    return errno.errorcode.get(error.errno or 0, _UNNAMED)
