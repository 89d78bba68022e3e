"""The public listening socket: accept, and look at what came along.

A connection that begins with the whole head of an upgrade never meets aiohttp: its socket is
handed over as it is. All others become kept-alive HTTP connections (`http`), which watch over heads.

A load balancer may put a header in front of a connection that says whose it is (`announced`).

Overload: when descriptors or memory run out the listener pauses instead of spinning,
and connections wait in the backlog. Connections that have not sent a whole head are
bounded in number; beyond that the one that has waited longest is closed, so that a
thousand silent connections cannot keep anybody out.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from typing import TYPE_CHECKING, Any, Final, Protocol

import structlog

from bascule.gateway.announced import Peer, read_header
from bascule.gateway.http import upgrade_head
from bascule.gateway.legs import CHUNK, PlainLeg
from bascule.policy.clientaddress import TrustedProxies, peer_address
from bascule.policy.socketoptions import unix_options
from bascule.protocol.http1 import END_OF_HEAD, without_empty_lines
from bascule.protocol.proxyheader import BadProxyHeader
from bascule.tasks import spawn

if TYPE_CHECKING:
    import ssl

    from bascule.gateway.bounded import Bounded
    from bascule.gateway.http import OnUpgrade
    from bascule.gateway.waits import Waits
    from bascule.policy.config import Config

_log = structlog.get_logger()

_OVERLOAD: Final = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))
"""Errors of accept(2) that are temporary: the missing resource may come back."""

_OF_THE_CONNECTION: Final = frozenset(
    (
        errno.ENETDOWN, errno.EPROTO, errno.ENOPROTOOPT, errno.EHOSTDOWN, errno.ENONET,
        errno.EHOSTUNREACH, errno.EOPNOTSUPP, errno.ENETUNREACH,
        errno.ECONNABORTED, errno.EINTR, errno.EPERM,
    )
)  # fmt: skip
"""Errors of accept(2) that say nothing about the next connection.

The first eight are the new connection's own, which Linux reports here; the manual page says to treat them
like EAGAIN, under "Error handling". The others: it was gone before we accepted it, a signal, a firewall rule.
"""

_PAUSE: Final = 0.1
"""Seconds without accepting after such an error."""

_SAY_EVERY: Final = 60.0
"""Seconds between log lines about it: ten a second would fill a disk."""

_ACCEPT_BATCH: Final = 64
"""Connections accepted before others get a turn."""


class Connections(Protocol):
    """What connections with plain requests are given to, and which of them ask for nothing yet.

    See `bascule.gateway.http.HttpServer`.
    """

    newcomers: Bounded
    idle: Bounded

    @property
    def arriving(self) -> Waits[Any]:
        """Those that lately began a head, or a TLS handshake before one."""

    def __call__(self, first: bytes = b"", peer: Peer | None = None) -> asyncio.Protocol:
        """Return the protocol of a new connection, of which so much has been read; and whose it is."""


class Listener:
    """Accepts connections.

    Args:
        config: Limits, and who puts a PROXY header in front of connections.
        listening: The listening socket; the supervisor's, so it outlives this process.
        http: Takes connections with plain requests.
        on_upgrade: Takes connections with an upgrade.
        tls: Context of a TLS listener; ``None`` for a plain one.
    """

    def __init__(
        self,
        config: Config,
        listening: socket.socket,
        http: Connections,
        on_upgrade: OnUpgrade,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._limits = config.limits
        announcers = config.proxy_protocol_from
        self._announcers = TrustedProxies(announcers) if announcers else None
        self._listening = listening
        self._family = int(listening.family)
        self._is_unix = listening.family is socket.AF_UNIX
        self._http = http
        self._on_upgrade = on_upgrade
        self._tls = tls
        self._loop = asyncio.get_running_loop()
        self._resume: asyncio.TimerHandle | None = None
        self._closed = False
        self._pauses = 0
        self._say_again_at = 0.0
        self._say_bad_again_at = 0.0

    def start(self) -> None:
        """Begin to accept, unless closed already: the order to leave may come before all is ready."""
        if self._closed:
            return
        self._listening.setblocking(False)
        self._loop.add_reader(self._listening.fileno(), self._accept)

    def close(self) -> None:
        """Stop accepting and close our descriptor of the socket; connections go on."""
        if self._closed:
            return
        self._closed = True
        if self._resume is not None:
            self._resume.cancel()
        self._loop.remove_reader(self._listening.fileno())
        self._listening.close()

    def _accept(self) -> None:
        for _ in range(_ACCEPT_BATCH):
            try:
                # What socket.accept does, without asking the kernel and two enumerations what
                # kind of socket it is.
                descriptor, peer = self._listening._accept()  # type: ignore[attr-defined]
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _OVERLOAD:
                    self._pause(error)
                elif error.errno not in _OF_THE_CONNECTION:
                    raise
                return
            connection = socket.socket(self._family, socket.SOCK_STREAM, 0, descriptor)
            connection.setblocking(False)
            if self._is_unix:  # it has nothing of the listening socket's options
                for option in unix_options():
                    connection.setsockopt(*option)
            address = peer_address(peer)
            if self._announcers is not None and address in self._announcers:
                spawn(self._announced(connection, address), "PROXY header", serves=True)
            else:
                self._begin(connection, Peer(address))

    async def _announced(self, connection: socket.socket, balancer: str) -> None:
        """Start with the header that a balancer has put in front."""
        # Wakes whoever waits for it with an end of stream.
        self._http.newcomers.enter(connection, lambda: _shutdown(connection))
        try:
            header = await read_header(self._loop, connection, self._limits.handshake_timeout)
        except BadProxyHeader as bad:
            connection.close()
            self._say_bad(balancer, bad)
            return
        except (OSError, TimeoutError):  # it has left, as health checks do, or says too little
            connection.close()
            return
        finally:
            self._http.newcomers.leave(connection)
        self._begin(connection, Peer(header.address or balancer, secure=header.secure))

    def _say_bad(self, balancer: str, bad: BadProxyHeader) -> None:
        if (now := self._loop.time()) >= self._say_bad_again_at:
            _log.warning("a connection without a PROXY header", peer=balancer, problem=str(bad))
            self._say_bad_again_at = now + _SAY_EVERY

    def _begin(self, connection: socket.socket, peer: Peer) -> None:
        """Start with what came along: the kernel wakes us when the request is there."""
        if self._tls is not None:
            spawn(self._serve(connection, b"", peer), "connection", serves=True)
            return
        try:
            data = connection.recv(CHUNK)
        except BlockingIOError:
            spawn(self._serve(connection, b"", peer), "connection", serves=True)
            return
        except OSError:
            data = b""
        if not data:
            connection.close()
            return
        data = without_empty_lines(data)
        if (end := data.find(END_OF_HEAD) + len(END_OF_HEAD)) >= len(END_OF_HEAD):
            # A whole head came along, as it nearly always does.
            head = upgrade_head(data[:end], self._limits)
            if head is not None:
                leg = PlainLeg(self._loop, connection)
                spawn(self._on_upgrade(leg, head, data[end:], *peer), "upgrade", serves=True)
                return
        spawn(self._serve(connection, data, peer), "connection", serves=True)

    def _pause(self, error: OSError) -> None:
        now = self._loop.time()
        self._pauses += 1
        # A new connection matters more than an idle one, and needs a descriptor for its upstream, too.
        self._http.idle.shed(2 * _ACCEPT_BATCH)
        if now >= self._say_again_at:
            name = errno.errorcode.get(error.errno or 0)
            _log.warning("accepting pauses", error=name, seconds=_PAUSE, pauses=self._pauses)
            self._say_again_at = now + _SAY_EVERY
        self._loop.remove_reader(self._listening.fileno())
        self._resume = self._loop.call_later(_PAUSE, self.start)

    async def _serve(self, connection: socket.socket, first: bytes, peer: Peer) -> None:
        """Give a connection to the HTTP side, behind the TLS handshake where there is one."""
        protocol = self._http(first, peer)
        timeout = None if self._tls is None else self._limits.handshake_timeout
        if first or self._tls is not None:
            # What it begins with is looked at in a later turn of the loop.
            self._http.arriving.enter(protocol)
        if self._tls is not None:
            # Wakes the loop with an end of stream; closing would pull the descriptor from under it.
            self._http.newcomers.enter(connection, lambda: _shutdown(connection))
        try:
            await self._loop.connect_accepted_socket(
                lambda: protocol, connection, ssl=self._tls, ssl_handshake_timeout=timeout
            )
        except (OSError, TimeoutError):
            self._http.arriving.leave(protocol)
            connection.close()
        finally:
            self._http.newcomers.leave(connection)


def _shutdown(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
