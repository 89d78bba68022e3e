"""What a peer with TLS says: received and opened, so little at once that no turn takes long.

All connections share two windows, as they do in a forwarder, so one that waits owns no buffer.

Rules of this file: one read and its records in a call, whatever a peer sends.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from bascule.gateway.tls.records import RECORD

if TYPE_CHECKING:
    import ssl

    from bascule.gateway.tls.records import TlsRecords

__all__ = ["OPENED", "READ_AT_ONCE", "ROOM", "TlsReceiver"]

READ_AT_ONCE: Final = 4 * RECORD
"""Most bytes read from a connection in a turn."""

ROOM: Final = READ_AT_ONCE + 2 * RECORD
"""Bytes for which there must be room when that is opened: it may complete a record that had begun before, and
OpenSSL has to be asked for a whole record, or it would keep the rest."""

_LITTLE: Final = 1024
"""Bytes read at once from a peer that has made a turn `_SLOW`."""

_SLOW: Final = 0.01
"""Processor time, in seconds, that OpenSSL needs for no window of data, however short the records are. Of
requests for new keys one window holds thousands, and each takes longer than a whole record."""

_sealed: Final = memoryview(bytearray(READ_AT_ONCE))
"""The window into which every connection is read."""

OPENED: Final = memoryview(bytearray(ROOM))
"""The window for what that says, for whoever has none."""


class TlsReceiver:
    """The reading side of one connection.

    Args:
        records: Opens what comes.

    Attributes:
        window: Into which the connection is to be read. What came has to be opened before another is read.
    """

    __slots__ = ("_records", "window")

    def __init__(self, records: TlsRecords) -> None:
        self._records = records
        self.window = _sealed

    def open(self, number: int, into: memoryview) -> tuple[int, ssl.SSLError | None]:
        """Open what is in the window.

        Args:
            number: How many bytes that were; 0 for what came with the handshake.
            into: See `TlsRecords.open`; has `ROOM`.

        Returns:
            See `TlsRecords.open`.
        """
        if number <= _LITTLE:
            return self._records.open(_sealed[:number], into)
        began = time.thread_time()
        opened = self._records.open(_sealed[:number], into)
        if time.thread_time() - began > _SLOW:
            self.window = _sealed[:_LITTLE]
        return opened
