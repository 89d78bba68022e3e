"""How TLS fails, in words of ours: OpenSSL's may repeat what the peer sent.

Where we are the client, every failure has words; where we are the server, only what is about a certificate:
scanners and browsers break off handshakes all the time.

Rules of this file: pure.
"""

from __future__ import annotations

import errno
import ssl
from typing import Final

__all__ = ["ALERTS", "UPSTREAM", "alert", "errno_name", "is_plain_http", "refused_certificate", "tls_failure"]

_CERTIFICATE: Final = {
    9: "the certificate is not valid yet",
    10: "the certificate has expired",
    18: "the certificate is self-signed",
    19: "the certificate's CA is not trusted",
    20: "the certificate's CA is not trusted",
    21: "the certificate's CA is not trusted",
    26: "the certificate is for another purpose",
    62: "the certificate is for another name",
    64: "the certificate is for another name",
}
"""OpenSSL's X509_V_ERR_…: 26 is a server's certificate shown by a client, or the other way round; 64 is the
name's where it is an address."""

_INVALID: Final = "the certificate is not valid"

_ALERTS: Final = {
    "CERTIFICATE_REQUIRED": "asks for a certificate of ours",
    **dict.fromkeys(
        (
            "ACCESS_DENIED", "BAD_CERTIFICATE", "CERTIFICATE_EXPIRED", "CERTIFICATE_REVOKED",
            "CERTIFICATE_UNKNOWN", "UNKNOWN_CA", "UNSUPPORTED_CERTIFICATE",
        ),
        "does not accept our certificate",
    ),
}  # fmt: skip
"""RFC 8446 §6.2: what a server may say of the certificate that it was shown, or was not."""

UPSTREAM: Final = "the upstream"

ALERTS: Final = frozenset(f"{UPSTREAM} {said}" for said in _ALERTS.values())
"""All that `alert` may say of an upstream."""

_UNNAMED: Final = "EIO"


def alert(error: BaseException | None, server: str = UPSTREAM) -> str | None:
    """Return what a server has said against our certificate; ``None`` if that is not what went wrong.

    With TLS 1.3 it says so behind the handshake, which has succeeded here.

    Args:
        error: What went wrong.
        server: Who has said it.
    """
    match error:
        case ssl.SSLError(reason=str(reason)):
            said = _ALERTS.get(reason.partition("_ALERT_")[2])  # in front of it is a version
            return None if said is None else f"{server} {said}"
        case _:
            return None


def tls_failure(error: OSError, server: str = UPSTREAM) -> str:
    """Return how TLS failed.

    Args:
        error: What was raised.
        server: With whom it failed.
    """
    match error:
        case ssl.SSLError() if (said := alert(error, server)) is not None:
            why = said
        case ssl.SSLCertVerificationError():
            why = _CERTIFICATE.get(error.verify_code, _INVALID)
        case ssl.SSLError(reason="WRONG_VERSION_NUMBER"):  # what came was no record of TLS at all
            why = f"{server} does not speak TLS"
        case ssl.SSLError():
            return "TLS handshake failed"
        case TimeoutError(errno=None) | ConnectionAbortedError(errno=None):  # ours; the loop's own, of 60 s
            return "TLS handshake timed out"
        case ConnectionResetError():  # without a number where it just ended
            why = errno.errorcode[errno.ECONNRESET]
        case _:
            why = errno_name(error)
    return f"TLS handshake failed: {why}"


def refused_certificate(error: OSError) -> str | None:
    """Return why a handshake with a client failed: its certificate, or ours; ``None`` if it was neither.

    Args:
        error: What was raised.
    """
    match error:
        case ssl.SSLCertVerificationError():
            return _CERTIFICATE.get(error.verify_code, _INVALID)
        case ssl.SSLError(reason="PEER_DID_NOT_RETURN_A_CERTIFICATE"):
            return "the client shows no certificate"
        case _:
            return alert(error, "the client")


def is_plain_http(error: OSError) -> bool:
    """Tell whether a client sent a request where TLS should have begun.

    Args:
        error: What was raised. OpenSSL knows GET, HEAD, POST and PUT.
    """
    return isinstance(error, ssl.SSLError) and error.reason == "HTTP_REQUEST"


def errno_name(error: OSError) -> str:
    """Return the kernel's name of an error, as ``ECONNREFUSED``; ``EPROTO`` where TLS broke."""
    # OpenSSL has numbers of its own.
    number = errno.EPROTO if isinstance(error, ssl.SSLError) else error.errno
    return errno.errorcode.get(number or 0, _UNNAMED)
