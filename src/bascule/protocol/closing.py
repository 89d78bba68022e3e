"""The close table: everything that ends a session, and what each side is told.

A row is chosen once, by the first thing that ends the session; later events only
finish the closing handshake. The table is data: the forwarder executes it, the
documentation prints it, and each row has a test.

Constraints the rows obey:

* A Close that a peer sent passes unchanged (rows ``*_closed``).
* No row sends 1000 or 1001 to a browser: JupyterLab 4.6 and later stop reconnecting on them.
  Idle, drain and restart say 1012. (An administrator may ask for 1000.)
* 1005, 1006 and 1015 never reach the wire (RFC 6455 §7.4.1).
* A Close of ours goes out at a frame boundary only. Where a direction is inside a
  frame whose sender is gone, the TCP connection is dropped instead: ending an
  unfinished frame with a Close would corrupt it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, auto
from typing import Final

from bascule.protocol.frames import CloseCode
from bascule.vocabulary import DRAINING_REASON, Cause, EndedBy

__all__ = ["CLOSE_TABLE", "End", "Row"]


class End(IntEnum):
    """The rows of the close table."""

    CLIENT_CLOSED = 0
    UPSTREAM_CLOSED = auto()
    CLIENT_ABORTED = auto()
    UPSTREAM_ABORTED = auto()
    CLIENT_TIMEOUT = auto()
    CLIENT_SILENT = auto()
    UPSTREAM_TIMEOUT = auto()
    CLIENT_PROTOCOL_ERROR = auto()
    UPSTREAM_PROTOCOL_ERROR = auto()
    CLIENT_TOO_BIG = auto()
    UPSTREAM_TOO_BIG = auto()
    IDLE = auto()
    DRAIN = auto()
    ADMIN = auto()
    EXPIRED = auto()
    NO_DESCRIPTORS = auto()
    FORWARDER_LOST = auto()


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the table: who ended the session, why, and what we tell each side.

    Attributes:
        ended_by: Who ended the session.
        cause: Why.
        to_browser: Close code we send to the browser; ``None`` when we send none of our own.
        browser_reason: Close reason beside it.
        to_upstream: Close code we send to the upstream, or ``None``.
        upstream_reason: Close reason beside it.
        meaning: One sentence for the documents.
    """

    ended_by: EndedBy
    cause: Cause
    to_browser: CloseCode | None
    browser_reason: str
    to_upstream: CloseCode | None
    upstream_reason: str
    meaning: str


_GONE: Final = "The browser is gone"
_LOST: Final = "The upstream ended the connection without a Close frame"

CLOSE_TABLE: Final[dict[End, Row]] = {
    End.CLIENT_CLOSED: Row(
        EndedBy.CLIENT, Cause.CLOSED, None, "", None, "",
        "The browser sent a Close frame. It passed unchanged, and the upstream's answer came back unchanged.",
    ),
    End.UPSTREAM_CLOSED: Row(
        EndedBy.UPSTREAM, Cause.CLOSED, None, "", None, "",
        "The upstream sent a Close frame. It passed unchanged, and the browser's answer went back unchanged.",
    ),
    End.CLIENT_ABORTED: Row(
        EndedBy.CLIENT, Cause.ABORTED, None, "", CloseCode.GOING_AWAY, _GONE,
        "The browser's TCP connection ended without a Close frame: a closed laptop, a killed tab, a cut network; over TLS also the death of our gateway.",
    ),
    End.UPSTREAM_ABORTED: Row(
        EndedBy.UPSTREAM, Cause.ABORTED, CloseCode.BAD_GATEWAY, _LOST, None, "",
        "The upstream's TCP connection ended without a Close frame: the kernel, shell or app was killed, or says no Close (code-server); over TLS also the death of our gateway.",
    ),
    End.CLIENT_TIMEOUT: Row(
        EndedBy.CLIENT, Cause.TIMEOUT, None, "", CloseCode.GOING_AWAY, _GONE,
        "TCP gave up on the browser: no answer to keepalive probes, or to data within sockets.userTimeout; over TLS this shows as aborted.",
    ),
    End.CLIENT_SILENT: Row(
        EndedBy.CLIENT, Cause.TIMEOUT, CloseCode.SERVICE_RESTART, "No answer to a ping within limits.pongTimeout",
        CloseCode.GOING_AWAY, _GONE,
        "Nothing came from the browser for limits.pongTimeout after a ping, not even its answer: behind an ingress, which "
        "answers for it on TCP, a browser that is gone is noticed by this alone.",
    ),
    End.UPSTREAM_TIMEOUT: Row(
        EndedBy.UPSTREAM, Cause.TIMEOUT, CloseCode.BAD_GATEWAY, "The upstream no longer answers", None, "",
        "TCP gave up on the upstream: no answer to keepalive probes, or to data within sockets.userTimeout; over TLS this shows as aborted.",
    ),
    End.CLIENT_PROTOCOL_ERROR: Row(
        EndedBy.CLIENT, Cause.PROTOCOL_ERROR, CloseCode.PROTOCOL_ERROR, "Invalid WebSocket framing",
        CloseCode.GOING_AWAY, "The browser broke the WebSocket protocol",
        "The browser sent a frame that RFC 6455 forbids. Nothing of that frame was forwarded.",
    ),
    End.UPSTREAM_PROTOCOL_ERROR: Row(
        EndedBy.UPSTREAM, Cause.PROTOCOL_ERROR, CloseCode.BAD_GATEWAY, "The upstream broke the WebSocket protocol",
        CloseCode.PROTOCOL_ERROR, "Invalid WebSocket framing",
        "The upstream sent a frame that RFC 6455 forbids. Nothing of that frame was forwarded.",
    ),
    End.CLIENT_TOO_BIG: Row(
        EndedBy.CLIENT, Cause.TOO_BIG, CloseCode.MESSAGE_TOO_BIG, "Frame exceeds incomingBufferBytes ({limit})",
        CloseCode.MESSAGE_TOO_BIG, "Frame exceeds incomingBufferBytes ({limit})",
        "The browser announced a frame above incomingBufferBytes. Not a byte of it was forwarded.",
    ),
    End.UPSTREAM_TOO_BIG: Row(
        EndedBy.UPSTREAM, Cause.TOO_BIG, CloseCode.MESSAGE_TOO_BIG, "Frame exceeds incomingBufferBytes ({limit})",
        CloseCode.MESSAGE_TOO_BIG, "Frame exceeds incomingBufferBytes ({limit})",
        "The upstream announced a frame above incomingBufferBytes. Not a byte of it was forwarded.",
    ),
    End.IDLE: Row(
        EndedBy.PROXY, Cause.IDLE, CloseCode.SERVICE_RESTART, "Idle for longer than sessionIdleTimeoutMs",
        CloseCode.GOING_AWAY, "Idle for longer than sessionIdleTimeoutMs",
        "No byte of a data frame moved in either direction for sessionIdleTimeoutMs; pings, pongs and heartbeats do "
        "not count.",
    ),
    End.DRAIN: Row(
        EndedBy.PROXY, Cause.DRAIN, CloseCode.SERVICE_RESTART, DRAINING_REASON,
        CloseCode.GOING_AWAY, DRAINING_REASON,
        "The proxy was told to stop (SIGTERM or POST /drain).",
    ),
    End.ADMIN: Row(
        EndedBy.PROXY, Cause.ADMIN, CloseCode.POLICY_VIOLATION, "Closed by an administrator",
        CloseCode.GOING_AWAY, "Closed by an administrator",
        "DELETE /sessions/{id}; the code and reason given there replace the ones here.",
    ),
    End.EXPIRED: Row(
        EndedBy.PROXY, Cause.EXPIRED, CloseCode.POLICY_VIOLATION, "The login has expired",
        CloseCode.GOING_AWAY, "The login has expired",
        "With auth.session.closeAtExpiry: the token that the session was opened with is no longer good.",
    ),
    End.NO_DESCRIPTORS: Row(
        EndedBy.PROXY, Cause.INTERNAL, None, "", None, "",
        "The forwarder that was to carry the session had no descriptors, no memory or no epoll watches left for it; both TCP connections were dropped.",
    ),
    End.FORWARDER_LOST: Row(
        EndedBy.PROXY, Cause.INTERNAL, None, "", None, "",
        "The forwarder that carried the session died; the kernel dropped both TCP connections.",
    ),
}  # fmt: skip
