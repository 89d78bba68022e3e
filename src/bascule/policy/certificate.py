"""The certificate of the public listener.

The supervisor loads it to know that it is one, before anything is started with it; the gateway to use it.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Final

from bascule.errors import ConfigError

if TYPE_CHECKING:
    from bascule.policy.config import Tls

__all__ = ["server_context"]


_NO_PAIR: Final = frozenset({"KEY_VALUES_MISMATCH", "NO_CERTIFICATE_ASSIGNED"})
"""What OpenSSL says of a certificate with the key of another, be that of the same kind or not."""


def server_context(tls: Tls) -> ssl.SSLContext | None:
    """Return what the public listener ends TLS with; ``None`` where it speaks plainly.

    Raises:
        ConfigError: The files cannot be read, are no certificate and its key, or the key is encrypted.
    """
    if tls.certificate is None:
        return None

    def passphrase() -> str:
        # Without this OpenSSL asks the terminal, and waits: at each start, reload and renewal.
        raise ConfigError([f"tls.key: {tls.key} is encrypted; allowed: a key without a passphrase"])

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2  # Debian's Python leaves it to OpenSSL's configuration
    try:
        context.load_cert_chain(tls.certificate, tls.key, passphrase)
    except OSError as error:  # ssl.SSLError is one
        reason = _reason(error) if isinstance(error, ssl.SSLError) else error.strerror
        found = f"{tls.certificate} and {tls.key} cannot be used: {reason}"
        problem = f"tls.certificate: {found}; allowed: a certificate and its key in PEM"
        raise ConfigError([problem]) from error
    context.set_alpn_protocols(["http/1.1"])
    return context


def _reason(error: ssl.SSLError) -> str:
    """Return OpenSSL's word for what is wrong, which is hardly ever one for people."""
    if error.reason in _NO_PAIR:
        return "the key is another certificate's"
    return f"not what they should be ({error.reason or error})"
