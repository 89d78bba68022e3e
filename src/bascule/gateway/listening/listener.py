"""The public listening socket: accept connections, and look at their first bytes.

A connection that begins with the whole head of an upgrade never reaches aiohttp: its socket goes
to admission as it is. All others become kept-alive HTTP connections (`http`), which check each head.

A load balancer may send a header ahead of a connection's bytes, which names the client
(`bascule.gateway.connections.proxyheader`).

Overload: when descriptors or memory run out the listener pauses instead of spinning,
and connections wait in the backlog. Connections that have not sent a whole head are
bounded in number; beyond that the one that has waited longest is closed, so that a
thousand silent connections cannot keep other clients out.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections import Counter, defaultdict
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

import structlog

from bascule.errors import RequestRefused
from bascule.gateway.connections.connecting import bare_socket, full_socket
from bascule.gateway.connections.farewell import farewell
from bascule.gateway.connections.giveway import give_way
from bascule.gateway.connections.legs import CHUNK, PlainLeg
from bascule.gateway.connections.patience import Patience
from bascule.gateway.connections.proxyheader import Peer, read_header
from bascule.gateway.connections.rounds import Rounds
from bascule.gateway.listening.answer import error_answer
from bascule.gateway.listening.upgrade import UpgradeRequest, upgrade_head
from bascule.gateway.tls.handshake import accept_tls
from bascule.policy.clientaddress import TrustedProxies, peer_address
from bascule.policy.socketoptions import unix_options
from bascule.protocol.http1 import END_OF_HEAD, without_empty_lines
from bascule.protocol.proxyheader import BadProxyHeader
from bascule.protocol.tlsfailure import is_plain_http, refused_certificate
from bascule.tasks import spawn
from bascule.telemetry.rarely import Rarely

if TYPE_CHECKING:
    import ssl

    from bascule.configuration.config import Config
    from bascule.gateway.connections.waiting import Waiting
    from bascule.gateway.listening.upgrade import OnUpgrade

__all__ = ["Connections", "Listener"]

_log = structlog.get_logger()

_NEEDS_TLS: Final = RequestRefused(400, "This port speaks HTTP over TLS: use https.")

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

The first eight are errors of the new connection that Linux reports here; accept(2) says under "Error
handling" to treat them like EAGAIN. The others: the client left before accept, a signal, a firewall rule.
"""

_PAUSE: Final = 0.1
"""Seconds without accepting after an error of `_OVERLOAD`."""

_SAY_EVERY: Final = 60.0
"""Seconds between log lines about overload, bad PROXY headers, or certificates that are not accepted."""

_STREAM: Final = int(socket.SOCK_STREAM)

_ACCEPT_BATCH: Final = 64
"""Connections accepted in one turn of the loop, before its other work goes on."""

_TLS_BATCH: Final = 8
"""The same where connections begin with TLS. Sessions with TLS wait for the end of a turn, others do not."""

_HANDSHAKES_A_TURN: Final = 4
"""TLS handshakes that go on in one turn, for the same reason."""


class Connections(Protocol):
    """The server to which the listener gives connections, and where these wait."""

    waiting: Waiting

    def __call__(self, first: bytes = b"", peer: Peer | None = None) -> asyncio.Protocol:
        """Return the protocol of a new connection: ``first`` was read from it, ``peer`` says whose it is."""


class Listener:
    """Accepts connections.

    Args:
        config: Limits, and the addresses of balancers that send a PROXY header first.
        listening: Our descriptor of the listening socket, which the supervisor owns: it outlives us.
        http: Takes connections with plain requests.
        on_upgrade: Takes connections with an upgrade.
        tls: Context of a TLS listener; ``None`` for a plain one.
        name: What the log calls it.
    """

    def __init__(
        self,
        config: Config,
        listening: socket.socket,
        http: Connections,
        on_upgrade: OnUpgrade,
        tls: ssl.SSLContext | None = None,
        name: str = "public",
    ) -> None:
        self._limits = config.limits
        announcers = config.proxy_protocol_from
        self._announcers = TrustedProxies(announcers) if announcers else None
        self._listening = listening
        self._family = int(listening.family)
        self._is_unix = listening.family is socket.AF_UNIX
        self._http = http
        self._waiting = http.waiting
        self._on_upgrade = on_upgrade
        self._tls = tls
        self._rounds = Rounds(_HANDSHAKES_A_TURN)
        self._name = name
        self._loop = asyncio.get_running_loop()
        self._resume: asyncio.TimerHandle | None = None
        self._closed = False
        self._pauses = 0
        self._says_pause = Rarely(_SAY_EVERY)
        self._says_bad = Rarely(_SAY_EVERY)
        self._says_refused: defaultdict[str, Rarely] = defaultdict(lambda: Rarely(_SAY_EVERY))
        self._refused: Counter[str] = Counter()

    def start(self) -> None:
        """Begin to accept, unless closed: the order to leave may come before the gateway is ready."""
        if self._closed:
            return
        self._listening.setblocking(False)
        try:
            self._loop.add_reader(self._listening.fileno(), self._accept)
        except OSError as error:  # for want of memory, or by the user's limit of watches
            self._pause(error)

    def close(self) -> None:
        """Stop accepting and close our descriptor of the socket; connections go on. Twice is harmless."""
        if self._closed:
            return
        self._closed = True
        if self._resume is not None:
            self._resume.cancel()
        self._loop.remove_reader(self._listening.fileno())
        self._listening.close()

    def _accept(self) -> None:
        if self._rounds.has_waiting and not self._waiting.newcomers.has_room(2 * _TLS_BATCH):
            # The kernel keeps newer ones: here the oldest would be dropped for them before its turn. Two
            # batches, since those of the turn before are not counted yet.
            return
        for _ in range(_ACCEPT_BATCH if self._tls is None else _TLS_BATCH):
            try:
                # Does what socket.accept does, except for asking the kernel and two enumerations
                # what kind of socket this is.
                descriptor, peer = self._listening._accept()  # type: ignore[attr-defined]
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _OVERLOAD:
                    self._pause(error)
                elif error.errno not in _OF_THE_CONNECTION:
                    raise
                return
            connection = bare_socket(self._family, _STREAM, descriptor)
            connection.setblocking(False)
            if self._is_unix:  # a Unix socket inherits no options of its listening socket
                for option in unix_options():
                    connection.setsockopt(*option)
            address = peer_address(peer)
            if self._announcers is not None and address in self._announcers:
                spawn(self._announced(connection, address), "PROXY header", serves=True)
            else:
                self._begin(connection, Peer(address))
            give_way()

    async def _announced(self, connection: socket.socket, balancer: str) -> None:
        """Read the PROXY header that a balancer sends first, then begin as on any connection."""
        # A shutdown wakes `read_header` with an end of stream.
        self._waiting.newcomers.enter(connection, lambda: _shutdown(connection))
        try:
            header = await read_header(connection, self._limits.handshake_timeout)
        except BadProxyHeader as bad:
            connection.close()
            self._say_bad(balancer, bad)
            return
        except (OSError, TimeoutError):  # the balancer left, as health checks do, or sent too little in time
            connection.close()
            return
        finally:
            self._waiting.newcomers.leave(connection)
        self._begin(connection, Peer(header.address or balancer, secure=header.secure))

    def _say_bad(self, balancer: str, bad: BadProxyHeader) -> None:
        if self._says_bad.now(self._loop.time()):
            _log.warning("a connection without a PROXY header", peer=balancer, problem=str(bad))

    def _begin(self, connection: socket.socket, peer: Peer) -> None:
        """Look at the first bytes: the kernel wakes us when the request is there."""
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
        head, end, early = data.partition(END_OF_HEAD)
        # Nearly always a whole head is there.
        if end and (upgrade := upgrade_head(head + end, self._limits)) is not None:
            request = UpgradeRequest(PlainLeg(self._loop, connection), upgrade, early, peer)
            if (rest := self._on_upgrade(request)) is not None:
                spawn(rest, "upgrade", serves=True)
            return
        spawn(self._serve(connection, data, peer), "connection", serves=True)

    def _pause(self, error: OSError) -> None:
        self._pauses += 1
        # New connections matter more than idle ones, and each needs a second descriptor for its upstream.
        self._waiting.idle.shed(2 * _ACCEPT_BATCH)
        if self._says_pause.now(self._loop.time()):
            name = errno.errorcode.get(error.errno or 0)
            _log.warning("accepting pauses", error=name, seconds=_PAUSE, pauses=self._pauses)
        self._loop.remove_reader(self._listening.fileno())
        self._resume = self._loop.call_later(_PAUSE, self.start)

    async def _serve(self, connection: socket.socket, first: bytes, peer: Peer) -> None:
        """Give a connection to the HTTP server, after the TLS handshake if there is one."""
        connection = full_socket(connection)
        protocol = self._http(first, peer)
        if first or self._tls is not None:
            # A later turn of the loop looks at its first bytes; till then it must count as arriving.
            self._waiting.arriving.enter(protocol)
        if self._tls is not None:
            # A shutdown wakes the loop with an end of stream; a close would take the descriptor away from it.
            self._waiting.newcomers.enter(connection, lambda: _shutdown(connection))
        try:
            if self._tls is None:
                await self._loop.connect_accepted_socket(lambda: protocol, connection)
            else:
                async with Patience(self._limits.handshake_timeout) as patience:
                    await accept_tls(connection, self._tls, lambda: protocol, partial(self._turn, patience))
        except OSError as error:
            self._waiting.arriving.leave(protocol)
            self._waiting.newcomers.leave(connection)
            leg = PlainLeg(self._loop, connection)
            if (problem := refused_certificate(error)) is not None:
                self._say_refused(peer.address, problem)
                # A browser has sent its request with its certificate. Closing now would be a reset, which can
                # overtake the alert that tells its user what is wrong.
                leg.end()
                await farewell(leg, lambda _: False)
            elif is_plain_http(error):
                with contextlib.suppress(OSError):
                    await error_answer(leg, _NEEDS_TLS)
            leg.close()
        finally:
            self._waiting.newcomers.leave(connection)

    async def _turn(self, patience: Patience) -> None:
        """Wait for a turn at TLS. In a storm that takes seconds, which are not the client's."""
        with patience.stopped():
            await self._rounds.turn()

    def _say_refused(self, client: str, problem: str) -> None:
        self._refused[problem] += 1
        # Each has its time: a scraper without one would hide the browser whose certificate has expired.
        if self._says_refused[problem].now(self._loop.time()):
            _log.warning(
                "a certificate is not accepted",
                listener=self._name,
                client=client,
                problem=problem,
                times=self._refused[problem],
            )


def _shutdown(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
