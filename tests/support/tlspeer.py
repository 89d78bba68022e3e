"""Peers with TLS in the test's own hands, which ask for new keys or begin anew: Python's `ssl` cannot."""

import asyncio
import contextlib
import ctypes
import ctypes.util
import socket
from collections.abc import AsyncIterator
from functools import cache
from typing import Any, Final

from bascule.gateway.tls.handshake import accept_tls, connect_tls
from bascule.gateway.tls.transport import TlsTransport
from tests.support.certificates import Certificate
from tests.support.farends import tcp_pair
from tests.support.parts import missing

__all__ = ["TlsPeer", "secured"]

_ASK: Final = 1
"""SSL_KEY_UPDATE_REQUESTED."""

_TYPES: Final[dict[str, tuple[Any, list[Any]]]] = {
    "TLS_client_method": (ctypes.c_void_p, []),
    "TLS_server_method": (ctypes.c_void_p, []),
    "SSL_CTX_use_certificate_file": (ctypes.c_int, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int]),
    "SSL_CTX_use_PrivateKey_file": (ctypes.c_int, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int]),
    "SSL_ctrl": (ctypes.c_long, [ctypes.c_void_p, ctypes.c_int, ctypes.c_long, ctypes.c_void_p]),
    "SSL_set_accept_state": (None, [ctypes.c_void_p]),
    "SSL_renegotiate": (ctypes.c_int, [ctypes.c_void_p]),
    "SSL_CTX_new": (ctypes.c_void_p, [ctypes.c_void_p]),
    "SSL_CTX_free": (None, [ctypes.c_void_p]),
    "SSL_new": (ctypes.c_void_p, [ctypes.c_void_p]),
    "SSL_free": (None, [ctypes.c_void_p]),
    "SSL_set_bio": (None, [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p]),
    "SSL_set_connect_state": (None, [ctypes.c_void_p]),
    "SSL_do_handshake": (ctypes.c_int, [ctypes.c_void_p]),
    "SSL_key_update": (ctypes.c_int, [ctypes.c_void_p, ctypes.c_int]),
    "SSL_read": (ctypes.c_int, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int]),
    "SSL_write": (ctypes.c_int, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int]),
    "BIO_s_mem": (ctypes.c_void_p, []),
    "BIO_new": (ctypes.c_void_p, [ctypes.c_void_p]),
    "BIO_read": (ctypes.c_int, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int]),
    "BIO_write": (ctypes.c_int, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int]),
}


_LATEST: Final = (124, 0x0303)
"""SSL_CTRL_SET_MAX_PROTO_VERSION, and TLS 1.2."""

_PEM: Final = 1


@cache
def _openssl() -> Any:
    name = ctypes.util.find_library("ssl")
    if name is None:
        missing("no libssl")
    library = ctypes.CDLL(name)
    for function, (result, arguments) in _TYPES.items():
        getattr(library, function).restype = result
        getattr(library, function).argtypes = arguments
    return library


class TlsPeer:
    """A client of TLS 1.3 that checks no certificate, or a server of TLS 1.2.

    It does no input or output: what to send is returned.

    Args:
        certificate: Of the server; ``None`` for a client.
    """

    def __init__(self, certificate: Certificate | None = None) -> None:
        self._ssl = _openssl()
        method = self._ssl.TLS_server_method if certificate else self._ssl.TLS_client_method
        self._context = self._ssl.SSL_CTX_new(method())
        if certificate is not None:
            shown, key = bytes(certificate.certificate), bytes(certificate.key)
            assert self._ssl.SSL_CTX_use_certificate_file(self._context, shown, _PEM) == 1
            assert self._ssl.SSL_CTX_use_PrivateKey_file(self._context, key, _PEM) == 1
        self._connection = self._ssl.SSL_new(self._context)
        self._incoming, self._outgoing = (self._ssl.BIO_new(self._ssl.BIO_s_mem()) for _ in range(2))
        self._ssl.SSL_set_bio(self._connection, self._incoming, self._outgoing)
        if certificate is None:
            self._ssl.SSL_set_connect_state(self._connection)
        else:
            self._ssl.SSL_set_accept_state(self._connection)
            assert self._ssl.SSL_ctrl(self._connection, *_LATEST, None) == 1

    def close(self) -> None:
        """Give the memory back."""
        self._ssl.SSL_free(self._connection)
        self._ssl.SSL_CTX_free(self._context)

    def greet(self) -> tuple[bool, bytes]:
        """Go on with the handshake; tell whether it is over, and return what to send."""
        over = self._ssl.SSL_do_handshake(self._connection) == 1
        return over, self._to_send()

    def take(self, data: bytes) -> None:
        """Take what the server has sent."""
        assert self._ssl.BIO_write(self._incoming, data, len(data)) == len(data)

    def ask(self, times: int) -> bytes:
        """Return so many requests for new keys, each made with the keys of the one before."""
        for _ in range(times):
            assert self._ssl.SSL_key_update(self._connection, _ASK) == 1
            assert self._ssl.SSL_do_handshake(self._connection) == 1
        return self._to_send()

    def begin_anew(self) -> bytes:
        """Return a server's request for another handshake."""
        assert self._ssl.SSL_renegotiate(self._connection) == 1
        assert self._ssl.SSL_do_handshake(self._connection) == 1
        return self._to_send()

    def say(self, data: bytes) -> bytes:
        """Return a record with some data."""
        assert self._ssl.SSL_write(self._connection, data, len(data)) == len(data)
        return self._to_send()

    def hear(self) -> tuple[bytes, bytes]:
        """Return what the other side has said so far, and what to send."""
        said = b""
        buffer = ctypes.create_string_buffer(1 << 14)
        while (count := self._ssl.SSL_read(self._connection, buffer, len(buffer))) > 0:
            said += buffer.raw[:count]
        return said, self._to_send()

    def _to_send(self) -> bytes:
        said = b""
        buffer = ctypes.create_string_buffer(1 << 16)
        while (count := self._ssl.BIO_read(self._outgoing, buffer, len(buffer))) > 0:
            said += buffer.raw[:count]
        return said


async def _greet(peer: TlsPeer, theirs: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    while True:
        is_over, said = peer.greet()
        await loop.sock_sendall(theirs, said)
        if is_over:
            return
        peer.take(await loop.sock_recv(theirs, 1 << 16))


@contextlib.asynccontextmanager
async def secured(
    certificate: Certificate, protocol: asyncio.BaseProtocol, *, is_server: bool = False, **buffers: int
) -> AsyncIterator[tuple[TlsTransport, TlsPeer, socket.socket]]:
    """Have TLS with such a peer, for the length of a block.

    Args:
        certificate: The server's.
        protocol: Gets the connection.
        is_server: Whether the peer is the server.
        buffers: See `tcp_pair`.

    Yields:
        Our transport; the peer, and its socket.
    """
    ours, theirs = tcp_pair(**buffers)
    peer = TlsPeer(certificate if is_server else None)
    if is_server:
        beginning = connect_tls(ours, certificate.client(), "localhost", lambda: protocol)
    else:
        beginning = accept_tls(ours, certificate.server(), lambda: protocol)
    with theirs, contextlib.closing(peer):
        transport, _ = await asyncio.gather(beginning, _greet(peer, theirs))
        try:
            yield transport, peer, theirs
        finally:
            transport.abort()
