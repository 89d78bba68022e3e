"""Every way in which an upstream fails has a few words of its own, and none quotes an address."""

from __future__ import annotations

import errno
import ssl
from typing import Any

import aiohttp
import pytest

from bascule.gateway.plain.client import TlsTimedOut
from bascule.gateway.plain.connection import FailedInUse
from bascule.gateway.plain.failure import NO_ROOM, UNREACHABLE, describe, why_unreachable

KEY = aiohttp.client_reqrep.ConnectionKey("10.9.8.7", 1, False, True, None, None, None)
FULL = OSError(errno.EMFILE, "Too many open files")
REFUSED = OSError(errno.ECONNREFUSED, "Connect call failed ('10.9.8.7', 1)")


def distrust(code: int) -> ssl.SSLCertVerificationError:
    """Return what OpenSSL says of a certificate, in words that have an address."""
    error = ssl.SSLCertVerificationError(1, "10.9.8.7")
    error.verify_code = code
    return error


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (aiohttp.ClientConnectorDNSError(KEY, OSError("no such name")), "name does not resolve"),
        (aiohttp.ClientConnectorDNSError(KEY, FULL), "connect failed: EMFILE"),
        (aiohttp.ClientConnectorError(KEY, FULL), "connect failed: EMFILE"),
        (aiohttp.ClientConnectorError(KEY, REFUSED), "connect failed: ECONNREFUSED"),
        (aiohttp.ClientConnectorSSLError(KEY, ssl.SSLError(1, "10.9.8.7")), "TLS handshake failed"),
        (
            aiohttp.ClientConnectorSSLError(KEY, ConnectionResetError("10.9.8.7")),
            "TLS handshake failed: ECONNRESET",
        ),
        (
            aiohttp.ClientConnectorSSLError(KEY, OSError(errno.EPIPE, "10.9.8.7")),
            "TLS handshake failed: EPIPE",
        ),
        (
            aiohttp.ClientConnectorSSLError(KEY, ConnectionAbortedError("10.9.8.7")),
            "TLS handshake timed out",
        ),
        (
            aiohttp.ClientConnectorCertificateError(KEY, distrust(18)),
            "TLS handshake failed: the certificate is self-signed",
        ),
        (
            aiohttp.ClientConnectorCertificateError(KEY, distrust(99)),
            "TLS handshake failed: the certificate is not valid",
        ),
        (aiohttp.ConnectionTimeoutError("to 10.9.8.7"), "connect timed out"),
        (TlsTimedOut("to 10.9.8.7"), "TLS handshake timed out"),
        (TimeoutError(), "no answer in time"),
        (aiohttp.ServerDisconnectedError(), "the connection ended"),
        (aiohttp.ClientPayloadError("10.9.8.7"), "the connection ended"),
        (ConnectionResetError(errno.ECONNRESET, "10.9.8.7"), "the connection ended: ECONNRESET"),
        (FailedInUse(ConnectionResetError(errno.ECONNRESET, "10.9.8.7")), "the connection ended: ECONNRESET"),
        (OSError(errno.EPROTO, "10.9.8.7"), "the connection ended: EPROTO"),
        (
            FailedInUse(aiohttp.ClientOSError(errno.EPROTO, "the upstream asks for a certificate of ours")),
            "TLS handshake failed: the upstream asks for a certificate of ours",
        ),
        (aiohttp.ClientError("10.9.8.7"), "not valid HTTP"),
        (ValueError("10.9.8.7"), "not valid HTTP"),
    ],
)
def test_an_error_is_told_in_the_words_of_the_runbook(error: Any, said: str) -> None:
    assert describe(error) == said


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (aiohttp.ClientConnectorDNSError(KEY, FULL), NO_ROOM),
        (aiohttp.ClientConnectorError(KEY, FULL), NO_ROOM),
        (aiohttp.ClientConnectorDNSError(KEY, OSError("no such name")), UNREACHABLE),
        (aiohttp.ClientConnectorError(KEY, REFUSED), UNREACHABLE),
        (aiohttp.ClientConnectorSSLError(KEY, ssl.SSLError(errno.ENOMEM, "10.9.8.7")), UNREACHABLE),
        (aiohttp.ServerDisconnectedError(), UNREACHABLE),
    ],
)
def test_a_connection_that_this_host_had_no_room_for_is_not_called_unreachable(
    error: Any, reason: str
) -> None:
    assert why_unreachable(error) == reason
