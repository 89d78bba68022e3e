"""What the hot path tells the rest of the forwarder: bits, and the modes of a flow.

Both builds of the hot path (`hot_pure`, `_hot`) use these numbers, and the
differential test compares them, so they never depend on the build.
"""

from __future__ import annotations

from typing import Final

__all__ = [
    "BOUNDARY",
    "CLOSE",
    "DEAD",
    "DISCARD",
    "EOF",
    "ERROR",
    "FAULT",
    "FAULT_PROTOCOL",
    "FAULT_TOO_BIG",
    "GLIMPSE_BYTES",
    "LEFT",
    "MAX_PINGS",
    "NO_CLOSE_CODE",
    "NO_FAULT",
    "PING",
    "PONG",
    "PREFIX_BYTES",
    "RELAY",
    "SCARCE_BYTES",
    "SCARCE_FROM",
    "SINK_ERROR",
    "SPLICE_FROM",
]

# Modes of a flow.
RELAY: Final = 0
"""Frames are walked and forwarded."""
DISCARD: Final = 1
"""Frames are walked, to find the peer's Close, and not forwarded."""
DEAD: Final = 2
"""Bytes are dropped unread: a Close has passed, or the framing is broken."""

# Signs, returned with a flow.
EOF: Final = 1
"""The source ended its direction."""
ERROR: Final = 2
"""Reading the source failed; `Flow.error` is the errno."""
SINK_ERROR: Final = 4
"""Writing the sink failed; `Flow.error` is the errno."""
PING: Final = 8
"""At least one ping was swallowed; `Flow.pings` has the payloads of the latest."""
CLOSE: Final = 16
"""The peer's Close frame is complete; `Flow.close_code` and `close_reason` say what it said."""
FAULT: Final = 32
"""The peer broke the framing or its frame is over the limit; `Flow.fault` says which."""
BOUNDARY: Final = 64
"""A control frame is pending, nothing is stashed, and the flow stands at a frame boundary, or in a frame
that is not forwarded. `flush` reports it as soon as the stash is gone, even inside a frame: the owner must
check."""
LEFT: Final = 128
"""The source's connection has ended or failed, and how is not known yet: what its peer said last is read when
the sink has taken what is stashed. Reported once for each flow."""
PONG: Final = 256
"""The browser answered a ping of ours (`OUR_PING_PAYLOAD`); the answer was swallowed."""

# Values of Flow.fault.
NO_FAULT: Final = 0
FAULT_PROTOCOL: Final = 1
FAULT_TOO_BIG: Final = 2

MAX_PINGS: Final = 16
"""Most pings answered of those that came together, the latest ones. RFC 6455 §5.5.3 asks only for the most
recent. A peer that sends a handful expects an answer to each, but a flood must not cause another."""

NO_CLOSE_CODE: Final = 0
"""`Flow.close_code` of a Close frame without a code, or before any."""

SPLICE_FROM: Final = 65536
"""With at least so many payload bytes of a frame to come, they are spliced
(docs/decisions/0004-splice-and-windows.md)."""

GLIMPSE_BYTES: Final = 16384
"""Most bytes read at once behind a frame with so much payload, where another such frame is likely: enough for
its header, and little of the payload that could be spliced."""

SCARCE_FROM: Final = 4194304
"""With more than so many bytes stashed in all, at most `SCARCE_BYTES` are received at once. So the stashes of
a forwarder take at most this, one window, and `SCARCE_BYTES` for each direction of each session, however many
have peers that read nothing: the chart reckons with that. Sixteen stalled browsers still slow down nobody."""

SCARCE_BYTES: Final = 16384
"""See `SCARCE_FROM`."""

PREFIX_BYTES: Final = 256
"""Room in front of the receive window for held bytes: an unfinished header or control frame
(at most 131 bytes)."""
