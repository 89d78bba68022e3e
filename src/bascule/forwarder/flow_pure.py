"""One direction of a session, for the pure hot path: where it stands, and what waits for its sink."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from bascule.forwarder import signs

if TYPE_CHECKING:
    from bascule.forwarder.pending import Pending

__all__ = ["Flow"]

_WHOLE: Final = {
    rsv: frozenset(
        0x80 | bits | opcode for opcode in (1, 2) for bits in range(0, 0x80, 0x10) if not bits & ~rsv
    )
    for rsv in range(0, 0x80, 0x10)
}
"""First bytes of whole messages (FIN, text or binary) by the reserved bits that are allowed."""

_NOTHING: Final[frozenset[int]] = frozenset()

_STEPS: Final = {
    inbound: tuple(
        header + second - base if 0 <= second - base < 126 else -2 - header if second - base == 126 else 0
        for second in range(256)
    )
    for inbound, base, header in ((True, 0x80, 6), (False, 0, 2))
}
"""By direction and second byte: size in bytes of a frame with a 7-bit length; for one with a 16-bit length
the size of its header, as a negative number; 0 where it is none of these."""


class Flow:
    """One direction of a session: reads one connection and writes the other.

    Attributes:
        source: Descriptor read; -1 once closed.
        sink: Descriptor written; -1 once closed.
        opposite: The other direction of the session.
        session: The owner; opaque here.
        inbound: Whether frames travel towards the upstream (and so must be masked, §5.1).
        mode: `signs.RELAY`, `DISCARD` or `DEAD`.
        limit: Largest payload of one frame, in bytes.
        rsv_first: Reserved bits allowed on the first frame of a message.
        rsv_continuation: Reserved bits allowed on continuation frames.
        remaining: Payload bytes of the current data frame not yet seen.
        in_message: A fragmented message is unfinished (§5.4). Explicit, since a
            fragment may be empty.
        large: The latest data frame had at least `signs.SPLICE_FROM` bytes of payload.
        held: An unfinished header or control frame.
        stash: Bytes received that the sink could not take yet.
        stop: Turn to `DISCARD` at the next frame boundary.
        wanted: Something is waiting to be injected: report `BOUNDARY`.
        reading: The source has not ended; it is read unless bytes are stashed.
        left: `signs.LEFT` was reported.
        interest: The epoll events the source is registered for; 0 before `Engine.attach` and when detached.
        pings: Payloads of the latest pings swallowed since the owner last looked, unmasked, at most
            `signs.MAX_PINGS`; ``None`` when there were none.
        close_code: Of the peer's Close frame; 0 for none.
        close_reason: Of the peer's Close frame.
        fault: `signs.FAULT_*`.
        error: Errno of the last `ERROR` or `SINK_ERROR`.
        frames: Data frames seen.
        payload: Payload bytes of data frames whose header was accepted.
        active_at: Monotonic time at which data last moved.
        between: Everything so far was whole messages: no header is held, no frame and no
            fragmented message unfinished. Follows from the above; kept for `hot_pure.Engine._advance`.
        whole: First bytes of the frames that `walk_pure.HeaderWalk._skip` may pass over.
        steps: `_STEPS` of the direction.
        heard: The source's last frame has come: its Close, its fault, or the end of its connection. This
            attribute and those below belong to the owner; the engine ignores them.
        gone: The source has ended for reading, and so was heard.
        told: A Close has been written to the sink, or it can no longer be told anything.
        closed: A Close of ours has told it, or waits in the stash.
        shut: We have ended the sink's connection for writing, since it was told.
        pending: Control frames waiting for the next frame boundary; ``None`` when there are none.
    """

    __slots__ = (
        "active_at",
        "between",
        "close_code",
        "close_reason",
        "closed",
        "error",
        "fault",
        "frames",
        "gone",
        "heard",
        "held",
        "in_message",
        "inbound",
        "interest",
        "large",
        "left",
        "limit",
        "mode",
        "opposite",
        "payload",
        "pending",
        "pings",
        "reading",
        "remaining",
        "rsv_continuation",
        "rsv_first",
        "session",
        "shut",
        "sink",
        "source",
        "stash",
        "steps",
        "stop",
        "told",
        "wanted",
        "whole",
    )

    def __init__(
        self,
        session: Any,
        source: int,
        sink: int,
        inbound: bool,
        limit: int,
        rsv_first: int,
        rsv_continuation: int,
        now: float,
    ) -> None:
        self.session = session
        self.source = source
        self.sink = sink
        self.opposite: Flow | None = None
        self.inbound = inbound
        self.mode = signs.RELAY
        self.limit = limit
        self.rsv_first = rsv_first
        self.rsv_continuation = rsv_continuation
        self.remaining = 0
        self.in_message = False
        self.large = False
        self.held: bytes | None = None
        self.stash: memoryview | None = None
        self.stop = False
        self.wanted = False
        self.reading = True
        self.left = False
        self.interest = 0
        self.pings: list[bytes] | None = None
        self.close_code = signs.NO_CLOSE_CODE
        self.close_reason = b""
        self.fault = signs.NO_FAULT
        self.error = 0
        self.frames = 0
        self.payload = 0
        self.active_at = now
        self.between = True
        # `_skip` does not compare a frame's length with the limit, so it may run only where none exceeds it.
        self.whole = _WHOLE[rsv_first & 0x70] if limit >= 65535 else _NOTHING
        self.steps = _STEPS[inbound]
        self.heard = False
        self.gone = False
        self.told = False
        self.closed = False
        self.shut = False
        self.pending: Pending | None = None

    @property
    def at_boundary(self) -> bool:
        """Whether everything written so far ends at a frame boundary, and nothing is stashed."""
        return self.remaining == 0 and self.stash is None

    @property
    def stashed(self) -> int:
        """Bytes in the stash."""
        return 0 if self.stash is None else len(self.stash)
