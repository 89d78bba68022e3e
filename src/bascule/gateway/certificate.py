"""The certificate of the public listener."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from bascule.errors import ConfigError

if TYPE_CHECKING:
    from bascule.policy.config import Tls

__all__ = ["server_context"]


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
    try:
        context.load_cert_chain(tls.certificate, tls.key, passphrase)
    except OSError as error:  # ssl.SSLError is one
        is_content = isinstance(error, ssl.SSLError)
        reason = f"no certificate and its key in PEM ({error})" if is_content else error.strerror
        problem = f"tls: {tls.certificate} and {tls.key} cannot be used: {reason}"
        raise ConfigError([problem]) from error
    context.set_alpn_protocols(["http/1.1"])
    return context
