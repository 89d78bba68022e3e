"""Certificates and keys: of our listeners, and for connections to upstreams and to other instances.

The supervisor loads them as a check, before it starts a process with them; the gateway loads them to use
them.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Final

from bascule.configuration.namedfile import check_file
from bascule.configuration.tls import Tls
from bascule.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bascule.configuration.config import AdminTls, Config, UpstreamTls

__all__ = [
    "check_certificates",
    "listener_context",
    "own_context",
    "peer_context",
    "upstream_context",
]


_NO_PAIR: Final = frozenset({"KEY_VALUES_MISMATCH", "NO_CERTIFICATE_ASSIGNED"})
"""OpenSSL's reasons for a key that belongs to another certificate, of the same kind of key or another."""


def check_certificates(config: Config) -> None:
    """Check that all certificates, keys and CAs that a configuration names can be used.

    Raises:
        ConfigError: Some cannot; names the key of each.
    """
    problems: list[str] = []
    contexts: list[Callable[[], object]] = [
        lambda: listener_context(config.tls),
        lambda: listener_context(config.admin_tls),
        lambda: peer_context(config.admin_tls),
    ]
    if config.upstream_tls.ca is not None or config.upstream_tls.certificate is not None:
        contexts.append(lambda: upstream_context(config.upstream_tls))  # the system's CAs take 30 ms to load
    for made in contexts:
        try:
            made()
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(list(dict.fromkeys(problems)))  # adminTls.certificate is loaded twice


def listener_context(tls: Tls | AdminTls) -> ssl.SSLContext | None:
    """Return the TLS context of a listener; ``None`` when it does not use TLS.

    Raises:
        ConfigError: The files cannot be read, or are not what they should be; names the key.
    """
    if tls.certificate is None:
        return None
    block = "tls" if isinstance(tls, Tls) else "adminTls"
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    _load_pair(context, block, tls.certificate, tls.key)
    if tls.client_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        _trust(context, f"{block}.clientCa", tls.client_ca)
    return _settled(context)


def peer_context(tls: AdminTls) -> ssl.SSLContext | None:
    """Return the TLS context for the other instances' admin listeners; ``None`` when these do not use TLS.

    Raises:
        ConfigError: The files cannot be read, or are not what they should be; names the key.
    """
    if tls.certificate is None:
        return None
    context = _asking("adminTls.peerCa", tls.peer_ca)
    _load_pair(context, "adminTls", tls.certificate, tls.key)
    return _settled(context)


def own_context(tls: AdminTls) -> ssl.SSLContext | None:
    """Return the TLS context to ask our own admin listener; ``None`` when that does not use TLS.

    It trusts the certificate of the configuration and no other, whatever name that is for, and shows it.

    Raises:
        ConfigError: The files cannot be read, or are not what they should be; names the key.
    """
    if tls.certificate is None:
        return None
    context = _asking("adminTls.certificate", tls.certificate)
    context.check_hostname = False
    _load_pair(context, "adminTls", tls.certificate, tls.key)
    return _settled(context)


def upstream_context(tls: UpstreamTls) -> ssl.SSLContext:
    """Return the TLS context for connections to upstreams.

    Raises:
        ConfigError: The files cannot be read, or are not what they should be; names the key.
    """
    context = _asking("upstreamTls.ca", tls.ca)
    if tls.certificate is not None:
        _load_pair(context, "upstreamTls", tls.certificate, tls.key)
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return _settled(context)


def _asking(key: str, ca: Path | None) -> ssl.SSLContext:
    """Return a TLS context for servers, whose certificates it checks.

    Args:
        key: The key that names the file.
        ca: The file with the CAs; ``None`` for those of the system.

    Raises:
        ConfigError: It cannot be read, or no CA is in it.
    """
    if ca is None:
        return ssl.create_default_context()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _trust(context, key, ca)
    return context


def _settled(context: ssl.SSLContext) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_2  # Debian's Python leaves it to OpenSSL's configuration
    context.set_alpn_protocols(["http/1.1"])
    return context


def _load_pair(context: ssl.SSLContext, block: str, certificate: Path, key: Path | None) -> None:
    """Let a context show a certificate.

    Args:
        context: The context.
        block: The block of keys that names the files.
        certificate: The file with the certificate.
        key: The one with its key.

    Raises:
        ConfigError: The files cannot be read, are not a certificate and its key, or the key is encrypted.
    """

    def passphrase() -> str:
        # Without this OpenSSL asks the terminal, and waits: at each start, reload and renewal.
        raise ConfigError([f"{block}.key: {key} is encrypted; allowed: a key without a passphrase"])

    try:
        for file in filter(None, (certificate, key)):
            check_file(file)  # OpenSSL would wait for a pipe's writer, and read a device for ever
        context.load_cert_chain(certificate, key, passphrase)
    except OSError as error:  # ssl.SSLError is one
        found = f"{certificate} and {key} cannot be used: {_reason(error)}"
        problem = f"{block}.certificate: {found}; allowed: a certificate and its key in PEM"
        raise ConfigError([problem]) from error


def _trust(context: ssl.SSLContext, key: str, file: Path) -> None:
    """Let a context trust the CAs in a file.

    The flags are set here because Python's default contexts differ between versions. A CA that the operator
    trusts need not be a root, nor have the extensions that CAs made by hand leave out.

    Args:
        context: The context.
        key: The key that names the file.
        file: The file.

    Raises:
        ConfigError: It cannot be read, or no CA is in it.
    """
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    try:
        check_file(file)
        context.load_verify_locations(file)
        why = None if context.cert_store_stats()["x509"] else "no certificate is in it"
    except OSError as error:
        why = _reason(error)
    if why is not None:
        raise ConfigError([f"{key}: {file} cannot be used: {why}; allowed: certificates of CAs in PEM"])


def _reason(error: OSError) -> str:
    """Say what is wrong: in plain words for the likeliest mistake, otherwise in the system's or OpenSSL's."""
    if not isinstance(error, ssl.SSLError):
        return str(error.strerror)
    if error.reason in _NO_PAIR:
        return "the key is another certificate's"
    return f"not what they should be ({error.reason or error})"
