"""Socket options of a session's connections, from the configuration's ``sockets`` block."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from bascule.policy.config import Sockets

Option = tuple[int, int, int | bytes]
"""Level, option, value: what ``setsockopt`` takes."""

DEFER_ACCEPT_SECONDS = 5
"""How long the kernel holds a silent connection back before we get it as it is."""

_TCP_NOTSENT_LOWAT = 25
"""<linux/tcp.h>; the socket module names it from 3.12 on."""

_LONGEST: Final = 2**31 - 1
"""Most milliseconds that ``setsockopt`` takes: 24.8 days."""


def _milliseconds(seconds: float) -> int:
    """Return milliseconds as the kernel takes them; 0 would mean its own time."""
    return min(max(1, round(seconds * 1000)), _LONGEST)


def keepalive_start(sockets: Sockets, share: float) -> Option:
    """Return when an upstream's connection is first probed: somewhere in the second half of the time.

    Sessions that were opened together, as after a restart, would probe together for ever; and a
    burst of thousands of probes overflows the kernel's queue (``net.core.netdev_max_backlog``),
    which loses them without a word until healthy peers are given up.

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
    browser's side keeps a heartbeat from queueing behind megabytes of output.
    """
    tcp = socket.IPPROTO_TCP
    options: list[Option] = [
        (socket.SOL_SOCKET, socket.SO_OOBINLINE, 1),
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
        (tcp, socket.TCP_KEEPIDLE, int(sockets.keepalive_idle)),
        (tcp, socket.TCP_KEEPINTVL, int(sockets.keepalive_interval)),
        (tcp, socket.TCP_KEEPCNT, sockets.keepalive_probes),
        # These may be set on a socket that had others (a reload), so off is said, too.
        (tcp, socket.TCP_NODELAY, int(sockets.no_delay)),
        (tcp, socket.TCP_USER_TIMEOUT, _milliseconds(sockets.user_timeout) if sockets.user_timeout else 0),
    ]
    if sockets.congestion_control:
        options.append((tcp, socket.TCP_CONGESTION, sockets.congestion_control.encode()))
    if browser:
        # Wakes us with the request, not with the connection. It also keeps connections that
        # never ask for anything in the kernel, until the time is up.
        options.append((tcp, socket.TCP_DEFER_ACCEPT, DEFER_ACCEPT_SECONDS))
        options.append((tcp, _TCP_NOTSENT_LOWAT, sockets.notsent_lowat_bytes))
    return tuple(options)
