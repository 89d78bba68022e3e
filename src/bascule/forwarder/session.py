"""One session as the forwarder holds it: a record, and two flows that record how far each side has ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from bascule.forwarder.hot import Flow
    from bascule.protocol.closing import End

__all__ = ["Asking", "Ending", "Session"]

_NO_ROUND_TRIP: Final = -1.0


class Asking:
    """What is known of a browser that has been sent a ping of ours; made with the first.

    Attributes:
        heard_at: When a ping of the browser, or its answer to one of ours, was last found, monotonic.
        asked: `Session.sign_at` when the first ping went out since the browser's latest sign; ``None`` if
            none has.
        answer_by: When the browser must have shown another sign, monotonic; set with ``asked``.
        pinged_at: When the first ping went out that is not answered yet, monotonic; 0 if there is none.
        round_trip: Seconds that the latest answer to a ping took; below zero if there was none.
    """

    __slots__ = ("answer_by", "asked", "heard_at", "pinged_at", "round_trip")

    def __init__(self) -> None:
        self.heard_at = 0.0
        self.asked: float | None = None
        self.answer_by = 0.0
        self.pinged_at = 0.0
        self.round_trip = _NO_ROUND_TRIP


class Ending:
    """How a session ends; made with the choice of the row, which is made once.

    Attributes:
        row: The row of the close table.
        code: Close code of the peer that ended it, or else ours for the browser; 0 for none.
        reason: Close reason beside it.
        boundary_by: Until when a Close of ours may wait for a frame boundary, monotonic.
        over_by: When the session is cut in any case, monotonic; infinity for never.
        farewell_by: Until when a peer may delay the end by taking bytes that wait for it, monotonic.
        read_by: Until when what has come is still read, if this process was held up until the session was
            to be cut, monotonic; 0 if it was not.
        told_at: When the session ended, or later when a Close of ours last went out, or when a peer was
            last seen to take waiting bytes; monotonic.
    """

    __slots__ = ("boundary_by", "code", "farewell_by", "over_by", "read_by", "reason", "row", "told_at")

    def __init__(self, row: End, code: int, reason: bytes) -> None:
        self.row = row
        self.code = code
        self.reason = reason
        self.boundary_by = 0.0
        self.over_by = 0.0
        self.farewell_by = 0.0
        self.read_by = 0.0
        self.told_at = 0.0


class Session:
    """A live session.

    Most are idle, and thousands of them are held. So what only some have is in objects of its own.

    Attributes:
        id: Given by the gateway.
        kind: Index into ``tuple(Kind)``.
        opened_at: Monotonic time of admission, in seconds.
        tag: The gateway's own note (`Errand.tag`), sent back with every `Live` and `Ended`.
        inbound: Browser to upstream.
        outbound: Upstream to browser.
        ending: How it ends; ``None`` while it lives.
        asking: What is known of a browser that has to answer; ``None`` before the first ping of ours.
        waiting: Bytes that waited for a slow peer at the last check whether the session is idle or, once it
            is ending, whether a peer still takes them; 0 before the first check.
        doubted: `active_at`, and the bytes that waited for a slow peer, at the last check whether that peer
            still takes any, the other being gone; ``None`` while neither is known to be gone.
        beat_at: When the next heartbeat is due, monotonic.
    """

    __slots__ = (
        "asking",
        "beat_at",
        "doubted",
        "ending",
        "id",
        "inbound",
        "kind",
        "opened_at",
        "outbound",
        "tag",
        "waiting",
    )

    inbound: Flow
    outbound: Flow

    def __init__(self, identifier: int, kind: int, opened_at: float, tag: bytes) -> None:
        self.id = identifier
        self.kind = kind
        self.opened_at = opened_at
        self.tag = tag
        self.ending: Ending | None = None
        self.asking: Asking | None = None
        self.waiting = 0
        self.doubted: tuple[float, int] | None = None
        self.beat_at = 0.0

    @property
    def end(self) -> End | None:
        """The row of the close table that ended it; ``None`` while it lives."""
        return None if self.ending is None else self.ending.row

    @property
    def round_trip(self) -> float:
        """Seconds that the browser's latest answer to a ping took; below zero if there was none."""
        return _NO_ROUND_TRIP if self.asking is None else self.asking.round_trip

    @property
    def sign_at(self) -> float:
        """When the browser last sent anything, except pongs that nobody asked for; monotonic.

        Of pings and answers, only those found since our first ping count.
        """
        data_at = self.inbound.active_at
        return data_at if self.asking is None else max(data_at, self.asking.heard_at)

    @property
    def active_at(self) -> float:
        """Monotonic time at which data last moved in either direction."""
        return max(self.inbound.active_at, self.outbound.active_at)
