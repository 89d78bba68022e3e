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

MAX_CONTROL_PAYLOAD_BYTES: Final = 125
MAX_REASON_BYTES: Final = MAX_CONTROL_PAYLOAD_BYTES - 2
"""RFC 6455 §5.5: beside the two bytes of the code."""

HEARTBEAT: Final = b"\x8a\x00"
"""An unsolicited, empty pong towards the browser (RFC 6455 §5.5.3)."""


class CloseCode(IntEnum):
    """Close codes that we send ourselves (RFC 6455 §7.4.1 and the IANA registry)."""

    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    POLICY_VIOLATION = 1008
    MESSAGE_TOO_BIG = 1009
    INTERNAL_ERROR = 1011
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
    if not size:
        return b""
    pad = (key * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(pad, "big")).to_bytes(size, "big")


def control_frame(opcode: int, payload: bytes, key: bytes | None = None) -> bytes:
    """Build a control frame, masked when a key is given.

    Raises:
        ValueError: The payload is longer than 125 bytes.
    """
    if len(payload) > MAX_CONTROL_PAYLOAD_BYTES:
        raise ValueError(f"control payload of {len(payload)} bytes, at most {MAX_CONTROL_PAYLOAD_BYTES}")
    if key is None:
        return bytes((0x80 | opcode, len(payload))) + payload
    return bytes((0x80 | opcode, 0x80 | len(payload))) + key + mask(payload, key)


def close_payload(code: int | None, reason: str | bytes = b"") -> bytes:
    """Build the payload of a Close frame; a reason is cut to 123 bytes at a character.

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
    return control_frame(0x8, close_payload(code, reason), key)


def parse_close_payload(payload: bytes) -> CloseFrame | None:
    """Read the payload of a Close frame; ``None`` when RFC 6455 §5.5.1 or §7.4 forbids it.

    The reason's UTF-8 is not checked: payload is the endpoints' business, and the
    frame passes unchanged.
    """
    if not payload:
        return CloseFrame(None, b"")
    if len(payload) == 1:
        return None
    code = int.from_bytes(payload[:2], "big")
    return CloseFrame(code, payload[2:]) if is_wire_code(code) else None


def holds_close(data: bytes) -> bool:
    """Tell whether a Close frame begins in bytes that begin at the beginning of a frame.

    For connections that are relayed by nobody; what a frame may be is not looked at.
    """
    position = 0
    while position < len(data):
        if data[position] & 0x0F == 0x8:
            return True
        second = data[position + 1] if position + 1 < len(data) else 0
        length = second & 0x7F
        position += 2
        if length > 125:
            extended = 2 if length == 126 else 8
            length = int.from_bytes(data[position : position + extended], "big")
            position += extended
        position += length + (4 if second & 0x80 else 0)
    return False
