"""Socket options of a session's connections, from the configuration's ``sockets`` block.

They are TCP's: a Unix socket has no network in between, and one option of its own, whatever is configured.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from bascule.configuration.config import Sockets

__all__ = ["DEFER_ACCEPT_SECONDS", "Option", "keepalive_start", "session_options", "unix_options"]

Option = tuple[int, int, int | bytes]
"""Level, option, value: what ``setsockopt`` takes."""

DEFER_ACCEPT_SECONDS = 5
"""How long the kernel holds back a connection on which nothing has come; then we get it all the same."""

_TCP_NOTSENT_LOWAT = 25
"""<linux/tcp.h>; the socket module names it from 3.12 on."""

_LONGEST: Final = 2**31 - 1
"""Most milliseconds that ``setsockopt`` takes: 24.8 days."""


def _milliseconds(seconds: float) -> int:
    """Return milliseconds as the kernel takes them; at least 1, since 0 means the kernel's own time-out."""
    return min(max(1, round(seconds * 1000)), _LONGEST)


def keepalive_start(sockets: Sockets, share: float) -> Option:
    """Return the option for an upstream's first probe: at a random point of the idle time's second half.

    Otherwise sessions that were opened together, as after a restart, would probe together for ever. A
    burst of thousands of probes overflows the kernel's queue (``net.core.netdev_max_backlog``), which
    drops probes silently until TCP gives up healthy peers.

    Args:
        sockets: The settings.
        share: A random number from 0 to 1.
    """
    seconds = max(1, round(sockets.keepalive_idle * (0.5 + 0.5 * share)))
    return socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, seconds


def session_options(sockets: Sockets, *, browser: bool) -> tuple[Option, ...]:
    """Return the options of one side's connection.

    ``SO_OOBINLINE`` keeps urgent bytes in the stream: without it the kernel would take one
    out, and what we relay would not be what was sent. ``TCP_NOTSENT_LOWAT`` on the
    browser's side keeps a heartbeat from queueing behind megabytes of output. When an upstream is first
    probed, `keepalive_start` says.
    """
    tcp = socket.IPPROTO_TCP
    options: list[Option] = [
        (socket.SOL_SOCKET, socket.SO_OOBINLINE, 1),
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
        (tcp, socket.TCP_KEEPINTVL, int(sockets.keepalive_interval)),
        (tcp, socket.TCP_KEEPCNT, sockets.keepalive_probes),
        # A reload may set these on a socket that has other values, so "off" is set explicitly.
        (tcp, socket.TCP_NODELAY, int(sockets.no_delay)),
        (tcp, socket.TCP_USER_TIMEOUT, _milliseconds(sockets.user_timeout) if sockets.user_timeout else 0),
    ]
    if sockets.congestion_control:
        options.append((tcp, socket.TCP_CONGESTION, sockets.congestion_control.encode()))
    if browser:
        options.append((tcp, socket.TCP_KEEPIDLE, int(sockets.keepalive_idle)))
        # The kernel wakes us when the request arrives, not when the connection does. Until the time
        # is up it also keeps connections that never send anything.
        options.append((tcp, socket.TCP_DEFER_ACCEPT, DEFER_ACCEPT_SECONDS))
        options.append((tcp, _TCP_NOTSENT_LOWAT, sockets.notsent_lowat_bytes))
    return tuple(options)


def unix_options() -> tuple[Option, ...]:
    """Return the options of a session's connection over a Unix socket: urgent bytes stay in the stream.

    Since Linux 5.15 such a socket has them, too.
    """
    return ((socket.SOL_SOCKET, socket.SO_OOBINLINE, 1),)
