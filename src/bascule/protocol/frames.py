r"""The layout of one WebSocket frame (RFC 6455 §5.2), and the frames we build ourselves.

::

    byte 0   FIN RSV1 RSV2 RSV3 opcode(4)
    byte 1   MASK length(7)          126 → 16-bit length follows, 127 → 64-bit length follows
    2..9     extended payload length, most significant byte first, in its minimal form
    then     4 bytes of masking key when MASK is set, then the payload

A header is therefore 2 to 14 bytes. A control frame has at most 125 bytes of payload
and no extended length, so a whole one is at most 131 bytes.

Rules of this file: bytes in, values out; masking keys are drawn by the caller.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final, NamedTuple

from bascule.vocabulary import Opcode

__all__ = [
    "HEARTBEAT",
    "MAX_REASON_BYTES",
    "OUR_PING",
    "OUR_PING_PAYLOAD",
    "CloseCode",
    "CloseFrame",
    "CloseWatch",
    "close_frame",
    "close_payload",
    "control_frame",
    "is_wire_code",
    "mask",
    "parse_close_payload",
]

_MAX_CONTROL_PAYLOAD_BYTES: Final = 125
MAX_REASON_BYTES: Final = _MAX_CONTROL_PAYLOAD_BYTES - 2
"""RFC 6455 §5.5: beside the two bytes of the code."""


class CloseCode(IntEnum):
    """Close codes that we send ourselves (RFC 6455 §7.4.1 and the IANA registry)."""

    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    POLICY_VIOLATION = 1008
    MESSAGE_TOO_BIG = 1009
    SERVICE_RESTART = 1012
    TRY_AGAIN_LATER = 1013
    BAD_GATEWAY = 1014


class CloseFrame(NamedTuple):
    """What a Close frame says. ``code`` is ``None`` when its payload is empty."""

    code: int | None
    reason: bytes


def is_wire_code(code: int) -> bool:
    """Tell whether a close code may appear in a Close frame (RFC 6455 §7.4).

    1004, 1005, 1006, 1015 and everything unregistered below 3000 may not.
    """
    return 1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999


def mask(payload: bytes, key: bytes) -> bytes:
    """XOR a payload with a 4-byte masking key (RFC 6455 §5.3); its own inverse."""
    size = len(payload)
    pad = (key * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(pad, "big")).to_bytes(size, "big")


def control_frame(opcode: Opcode, payload: bytes, key: bytes | None = None) -> bytes:
    """Build a control frame, masked when a key is given.

    Raises:
        ValueError: The payload is longer than 125 bytes.
    """
    if len(payload) > _MAX_CONTROL_PAYLOAD_BYTES:
        raise ValueError(f"control payload of {len(payload)} bytes, at most {_MAX_CONTROL_PAYLOAD_BYTES}")
    if key is None:
        return bytes((0x80 | opcode, len(payload))) + payload
    return bytes((0x80 | opcode, 0x80 | len(payload))) + key + mask(payload, key)


HEARTBEAT: Final = control_frame(Opcode.PONG, b"")
"""An unsolicited, empty pong towards the browser (RFC 6455 §5.5.3)."""

OUR_PING_PAYLOAD: Final = b"bascule"
"""Tells the answers to our pings from a browser's other pongs, which pass unchanged (RFC 6455 §5.5.3)."""

OUR_PING: Final = control_frame(Opcode.PING, OUR_PING_PAYLOAD)
"""A heartbeat that the browser has to answer (RFC 6455 §5.5.2)."""


def close_payload(code: int | None, reason: str | bytes = b"") -> bytes:
    """Build the payload of a Close frame; empty without a code.

    A reason is cut to at most 123 bytes, between two characters.

    Raises:
        ValueError: The code may not appear on the wire.
    """
    if code is None:
        return b""
    if not is_wire_code(code):
        raise ValueError(f"close code {code} may not appear on the wire")
    text = reason.encode() if isinstance(reason, str) else reason
    if len(text) > MAX_REASON_BYTES:
        text = text[:MAX_REASON_BYTES].decode("utf-8", "ignore").encode()
    return code.to_bytes(2, "big") + text


def close_frame(code: int | None, reason: str | bytes = b"", key: bytes | None = None) -> bytes:
    """Build a whole Close frame; see `close_payload`."""
    return control_frame(Opcode.CLOSE, close_payload(code, reason), key)


def parse_close_payload(payload: bytes) -> CloseFrame | None:
    """Read the payload of a Close frame; ``None`` when RFC 6455 §5.5.1 or §7.4 forbids it.

    The reason's UTF-8 is not checked: payload is the endpoints' business, and the
    frame passes unchanged.
    """
    if not payload:
        return CloseFrame(None, b"")
    code = int.from_bytes(payload[:2], "big")
    return CloseFrame(code, payload[2:]) if is_wire_code(code) else None


class CloseWatch:
    """Finds the first whole Close frame on a connection that no forwarder relays.

    The data may arrive cut at any byte; only the beginning of a header is kept. After data that is not a
    frame it is unknown where the next frame begins, so from there on no Close is found.
    """

    __slots__ = ("_closing", "_header", "_left", "_lost", "seen")

    def __init__(self) -> None:
        self.seen = False
        self._lost = False
        self._closing = False
        self._header = b""
        self._left = 0

    def feed(self, data: bytes) -> bool:
        """Take the next bytes received; tell whether a whole Close frame has come by now."""
        data, self._header = self._header + data, b""
        position, self._left = self._left, 0
        while not (self.seen or self._lost):
            if self._closing and position <= len(data):
                self.seen = True
            elif position >= len(data):
                self._left = position - len(data)
                break
            elif size := _frame_bytes(data, position):
                self._lost = size < 0
                self._closing = data[position] & 0x0F == Opcode.CLOSE
                position += size
            else:
                self._header = data[position:]
                break
        return self.seen


def _frame_bytes(data: bytes, start: int) -> int:
    """Return the size of the frame at ``start`` in bytes; 0 while too little has come, -1 if it is none."""
    first = data[start]
    if first & 0x70 or first & 0x07 > 2:
        return -1  # a reserved bit or opcode: we agreed on no extension, since we do not relay
    if start + 1 == len(data):
        return 0
    length = data[start + 1] & 0x7F
    header = 6 if data[start + 1] & 0x80 else 2
    if first & 0x08 and (length > _MAX_CONTROL_PAYLOAD_BYTES or not first & 0x80):
        return -1
    if length < 126:
        return header + length
    extended = 2 if length == 126 else 8
    field = data[start + 2 : start + 2 + extended]
    if len(field) < extended:
        return 0
    length = int.from_bytes(field, "big")
    if length < (126 if extended == 2 else 1 << 16) or length >> 63:
        return -1
    return header + extended + length
