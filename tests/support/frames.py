"""WebSocket frames for tests: built and read by code that shares nothing with the product's.

Rules of this file: no import of `bascule`. What is built here may be as wrong as a test wants.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

__all__ = [
    "BINARY",
    "CLOSE",
    "CONTINUATION",
    "KEY",
    "PING",
    "PONG",
    "TEXT",
    "Frame",
    "close",
    "frame",
    "frames_of",
    "header",
    "leftover",
    "xor",
]

CONTINUATION: Final = 0x0
TEXT: Final = 0x1
BINARY: Final = 0x2
CLOSE: Final = 0x8
PING: Final = 0x9
PONG: Final = 0xA

KEY: Final = bytes.fromhex("37fa213d")
"""The masking key of RFC 6455 §5.7's example."""


def xor(payload: bytes, key: bytes) -> bytes:
    """Mask or unmask, as §5.3 says it: all bytes at once, since tests of large frames do little else."""
    size = len(payload)
    mask = (key * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(mask, "big")).to_bytes(size, "big")


def header(
    opcode: int,
    length: int,
    *,
    fin: bool = True,
    rsv: int = 0,
    key: bytes | None = None,
    form: int | None = None,
) -> bytes:
    """Build a header.

    Args:
        opcode: Four bits.
        length: Announced payload length.
        fin: The FIN bit.
        rsv: Reserved bits in place (0x40, 0x20, 0x10).
        key: Masking key; ``None`` for an unmasked frame.
        form: 7, 16 or 64 bits of length; ``None`` for the minimal form.
    """
    if form is None:
        form = 7 if length < 126 else 16 if length < 65536 else 64
    first = (0x80 if fin else 0) | rsv | opcode
    bit = 0 if key is None else 0x80
    if form == 7:
        head = bytes((first, bit | length))
    elif form == 16:
        head = bytes((first, bit | 126)) + struct.pack("!H", length)
    else:
        head = bytes((first, bit | 127)) + struct.pack("!Q", length)
    return head + (key or b"")


def frame(
    opcode: int,
    payload: bytes = b"",
    *,
    fin: bool = True,
    rsv: int = 0,
    key: bytes | None = None,
    form: int | None = None,
) -> bytes:
    """Build a whole frame; arguments as for `header`."""
    head = header(opcode, len(payload), fin=fin, rsv=rsv, key=key, form=form)
    return head + (payload if key is None else xor(payload, key))


def close(code: int | None = None, reason: bytes = b"", key: bytes | None = None) -> bytes:
    """Build a Close frame with any code at all."""
    return frame(CLOSE, b"" if code is None else struct.pack("!H", code) + reason, key=key)


@dataclass(frozen=True)
class Frame:
    """A frame as read.

    Attributes:
        opcode: Four bits.
        payload: Unmasked.
        fin: The FIN bit.
        rsv: Reserved bits in place.
        key: Masking key, ``None`` when it was not masked.
        raw: The frame's bytes.
    """

    opcode: int
    payload: bytes
    fin: bool
    rsv: int
    key: bytes | None
    raw: bytes

    @property
    def code(self) -> int | None:
        """Close code of a Close frame."""
        return int.from_bytes(self.payload[:2], "big") if len(self.payload) >= 2 else None

    @property
    def reason(self) -> bytes:
        """Close reason of a Close frame."""
        return self.payload[2:]


def _walk(data: bytes) -> Iterator[Frame]:
    """Yield the whole frames at the beginning of ``data``."""
    at = 0
    while len(data) - at >= 2:
        first, second = data[at], data[at + 1]
        length, size = second & 0x7F, 2
        if length == 126:
            length, size = int.from_bytes(data[at + 2 : at + 4], "big"), 4
        elif length == 127:
            length, size = int.from_bytes(data[at + 2 : at + 10], "big"), 10
        key = None
        if second & 0x80:
            key = data[at + size : at + size + 4]
            size += 4
        end = at + size + length
        if end > len(data):
            return
        payload = data[at + size : end]
        if key is not None:
            payload = xor(payload, key)
        yield Frame(first & 0x0F, payload, bool(first & 0x80), first & 0x70, key, data[at:end])
        at = end


def frames_of(data: bytes) -> list[Frame]:
    """Read the whole frames at the beginning of ``data``."""
    return list(_walk(data))


def leftover(data: bytes) -> bytes:
    """Return what comes behind the last whole frame."""
    return data[sum(len(found.raw) for found in _walk(data)) :]
