"""What a peer with TLS is to get: sealed and sent, or kept until it takes that.

Rules of this file: no loop and no protocol. What cannot be sent at once is kept, and nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import socket

    from bascule.gateway.tls.records import TlsRecords

__all__ = ["MOST_OWED", "TlsSender"]

MOST_OWED: Final = 64 * 1024
"""Bytes that TLS itself says, and that the peer does not take, at which no more is to be read from it."""


class TlsSender:
    """The writing side of one connection.

    Args:
        connection: The connection; non-blocking.
        records: Seals what is written.

    Attributes:
        backlog: Records that the kernel has not taken.
        unsealed: Bytes that OpenSSL does not take, in a handshake of TLS 1.2 that the peer has begun again.
    """

    __slots__ = ("_connection", "_owed", "_records", "backlog", "unsealed")

    def __init__(self, connection: socket.socket, records: TlsRecords) -> None:
        self._connection = connection
        self._records = records
        self._owed = 0
        self.backlog = bytearray()
        self.unsealed = bytearray()

    @property
    def waiting(self) -> int:
        """Bytes that wait, sealed or not."""
        return len(self.backlog) + len(self.unsealed)

    @property
    def owes_much(self) -> bool:
        """Whether more than `MOST_OWED` waits of what TLS itself says, which grows with what is read."""
        return self._owed > MOST_OWED

    def write(self, data: memoryview) -> None:
        """Seal bytes and send them.

        Raises:
            ssl.SSLError: TLS has failed.
            OSError: The connection has failed, as with each method that sends; nothing of this is kept.
        """
        if self.unsealed:
            self.unsealed += data
            return
        records, sealed = self._records.seal(data)
        if sealed < len(data):
            self.unsealed += data[sealed:]
        self.send(records)

    def take_unsealed(self) -> bytearray:
        """Take what OpenSSL did not, to write it again."""
        unsealed, self.unsealed = self.unsealed, bytearray()
        return unsealed

    def send(self, records: bytes) -> None:
        """Send records; keep what the kernel does not take."""
        sent = 0
        if not self.backlog:
            try:
                sent = self._connection.send(records)
            except BlockingIOError:
                sent = 0
        if sent < len(records):
            self.backlog += memoryview(records)[sent:]

    def send_answer(self, said: bytes) -> None:
        """Send what TLS itself has to say to what it has read."""
        self.send(said)
        if self.backlog:
            self._owed += len(said)

    def send_backlog(self) -> None:
        """Send what waits, as far as the kernel takes that now."""
        try:
            del self.backlog[: self._connection.send(self.backlog)]
        except BlockingIOError:
            return
        if not self.backlog:
            self._owed = 0

    def clear(self) -> None:
        """Give up what waits."""
        self.backlog.clear()
        self.unsealed.clear()
        self._owed = 0
