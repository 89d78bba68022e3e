"""TLS without a connection: what comes in is opened, what goes out is sealed.

OpenSSL sits between two memory BIOs and not on the socket: there one call would go on for as long as a peer
sends what is no data, such as new keys (RFC 8446 §4.6.3), and the loop would stand still. It is given one
record at a time, since a memory BIO never gives back what it has grown to.

Rules of this file: no sockets, no loop, and no buffers of its own.
"""

from __future__ import annotations

import contextlib
import ssl
from typing import TYPE_CHECKING, Final, cast

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["RECORD", "TlsRecords"]

RECORD: Final = 16 * 1024
"""Most bytes that a record carries (RFC 8446 §5.1)."""


class TlsRecords:
    """Both directions of one connection, from the end of its handshake on.

    Args:
        tls: OpenSSL's side of it.
        incoming: What the peer has sent and is not opened yet.
        outgoing: What the peer is to get.
    """

    __slots__ = ("_incoming", "_outgoing", "_tls")

    def __init__(self, tls: ssl.SSLObject, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO) -> None:
        self._tls = tls
        self._incoming = incoming
        self._outgoing = outgoing

    @property
    def tls(self) -> ssl.SSLObject:
        """What OpenSSL knows of the peer."""
        return self._tls

    @property
    def unopened(self) -> int:
        """Bytes that are still to be opened, such as what the peer said right behind its handshake."""
        return self._incoming.pending

    def open(self, sealed: memoryview, into: memoryview) -> tuple[int, ssl.SSLError | None]:
        """Open what has come; afterwards TLS itself may have something `to_say`.

        Args:
            sealed: What has come.
            into: Gets what is in it; has room for that and for one record more, which may have begun before.

        Returns:
            How many bytes that is; and why there will be no more: `ssl.SSLZeroReturnError` if the peer has
            ended TLS, another error if it has failed, ``None`` if it goes on.
        """
        # The types of the standard library leave out that with a buffer this returns a number.
        read = cast("Callable[[int, memoryview], int]", self._tls.read)
        incoming = self._incoming
        filled = 0
        try:
            for start in range(0, max(len(sealed), 1), RECORD):
                incoming.write(sealed[start : start + RECORD])
                while incoming.pending:
                    try:
                        count = read(RECORD, into[filled:])
                    except ssl.SSLWantReadError:
                        break
                    if not count:
                        return filled, ssl.SSLZeroReturnError()
                    filled += count
        except ssl.SSLError as error:
            return filled, error
        return filled, None

    def seal(self, data: memoryview) -> tuple[bytes, int]:
        """Seal bytes for the peer.

        Returns:
            The records, and how many bytes are in them: not all in a handshake of TLS 1.2 that the peer has
            begun again.

        Raises:
            ssl.SSLError: TLS has failed.
        """
        records = []
        start = 0
        try:
            while start < len(data):
                # A peer may have asked for shorter records (RFC 8449).
                start += self._tls.write(data[start : start + RECORD])
                records.append(self._outgoing.read())
        except ssl.SSLWantReadError:
            pass
        return (records[0] if len(records) == 1 else b"".join(records)), start

    def to_say(self) -> bytes:
        """Return what TLS itself has to say to the peer, such as new keys; empty if nothing."""
        return self._outgoing.read() if self._outgoing.pending else b""

    def end(self) -> bytes:
        """End this side's direction; return what tells the peer."""
        with contextlib.suppress(ssl.SSLError):  # it wants to read the peer's end, which may never come
            self._tls.unwrap()
        return self._outgoing.read()
