"""What the log and the browser are told of a plain HTTP request whose upstream failed.

The log's words are those of a refused session's line (`bascule.gateway.upstreams.handshake`), so that one
table in the runbook serves both.

Rules of this file: nothing of the request is repeated; aiohttp's own texts quote addresses and are
not passed on.
"""

from __future__ import annotations

import errno
from typing import Final

import aiohttp

from bascule.gateway.connections.connecting import lacks_room
from bascule.gateway.plain.client import TlsTimedOut
from bascule.gateway.plain.connection import Unanswered
from bascule.gateway.upstreams.fence import AddressRefused
from bascule.protocol.tlsfailure import ALERTS, errno_name, tls_failure

__all__ = [
    "ANSWERS",
    "BAD_ANSWER",
    "BROKEN_OFF",
    "NO_ROOM",
    "TIMEOUT",
    "UNREACHABLE",
    "describe",
    "why_unreachable",
]

UNREACHABLE: Final = "unreachable"
"""No connection, or it ended before the answer began: 502."""
NO_ROOM: Final = "no_room"
"""This host had no descriptor, memory or port left for a connection; the upstream was not asked: 503."""
BAD_ANSWER: Final = "bad_answer"
"""The answer was not valid HTTP/1 (RFC 9112): 502."""
TIMEOUT: Final = "timeout"
"""No connection or no head of the answer in time: 504."""
BROKEN_OFF: Final = "broken_off"
"""The answer ended in its middle: the browser got the beginning without an end."""

ANSWERS: Final = {
    NO_ROOM: (503, "This proxy cannot connect to any more applications at the moment."),
    UNREACHABLE: (502, "The application behind this address cannot be reached."),
    BAD_ANSWER: (502, "The application behind this address gave an answer that is not valid HTTP."),
    TIMEOUT: (504, "The application behind this address did not answer in time."),
}
"""Status and page for each way in which there is no answer of an upstream to begin with."""


def why_unreachable(error: BaseException) -> str:
    """Return `NO_ROOM` if no connection was made for want of something of this host, else `UNREACHABLE`."""
    match error:
        case aiohttp.ClientConnectorError() if lacks_room(error.os_error):
            return NO_ROOM
        case _:
            return UNREACHABLE


def describe(error: BaseException) -> str:
    """Return what went wrong between us and the upstream, in a few words without an address."""
    match error:
        case aiohttp.ClientConnectorDNSError() if isinstance(error.os_error, AddressRefused):
            return str(error.os_error)
        case aiohttp.ClientConnectorDNSError() if why_unreachable(error) is UNREACHABLE:
            return "name does not resolve"
        case aiohttp.ClientSSLError():
            return tls_failure(error.os_error)
        case aiohttp.ClientConnectorError():
            return f"connect failed: {errno_name(error.os_error)}"
        case TlsTimedOut():
            return tls_failure(TimeoutError())
        case aiohttp.ConnectionTimeoutError():
            return "connect timed out"
        case TimeoutError():
            return "no answer in time"
        case aiohttp.ClientPayloadError() | aiohttp.ServerDisconnectedError():
            return "the connection ended"
        case Unanswered():
            return describe(error.reason)
        case OSError(errno=errno.EPROTO, strerror=why) if why in ALERTS:
            return f"TLS handshake failed: {why}"
        case OSError():
            return f"the connection ended: {errno_name(error)}"
        case _:
            return "not valid HTTP"
