"""One session as the forwarder holds it: a record, and two flows that record how far each side has ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bascule.forwarder.hot import Flow
    from bascule.protocol.closing import End

__all__ = ["Session"]


class Session:
    """A live session.

    Attributes:
        id: Given by the gateway.
        kind: Index into ``tuple(Kind)``.
        opened_at: Monotonic time of admission, in seconds.
        tag: The gateway's own note (`Errand.tag`), sent back with every `Live` and `Ended`.
        inbound: Browser to upstream.
        outbound: Upstream to browser.
        end: The row of the close table that ended it; ``None`` while it lives. Chosen once.
        code: Close code of the peer that ended it, or else ours for the browser; 0 for none.
        reason: Close reason beside it.
        waiting: Bytes that waited for a slow peer at the last check whether the session is idle or, once
            ``end`` is set, whether a peer still takes them; 0 before the first check.
        doubted: `active_at`, and the bytes that waited for a slow peer, at the last check whether that peer
            still takes any, the other being gone; ``None`` while neither is known to be gone.
        pinged_at: When the first ping went out that is not answered yet, monotonic; 0 if there is none.
        round_trip: Seconds that the latest answer to a ping took; below zero if there was none.
        beat_at: When the next heartbeat is due, monotonic.
        controls: How often pings of the browser, or answers to ours, have been found.
        asked: `browser_signs` when the first ping went out since the browser's latest; ``None`` if none has.
        answer_by: When the browser must have shown another sign, monotonic; set with ``asked``.
        boundary_by: Until when a Close of ours may wait for a frame boundary, monotonic; set with ``end``.
        over_by: When the session is cut in any case, monotonic; infinity for never. Set with ``end``.
        farewell_by: Until when a peer may delay the end by taking bytes that wait for it, monotonic; set
            with ``end``.
        told_at: When the session ended, or later when a Close of ours last went out, or when a peer was
            last seen to take waiting bytes; monotonic; set with ``end``.
    """

    __slots__ = (
        "answer_by",
        "asked",
        "beat_at",
        "boundary_by",
        "code",
        "controls",
        "doubted",
        "end",
        "farewell_by",
        "id",
        "inbound",
        "kind",
        "opened_at",
        "outbound",
        "over_by",
        "pinged_at",
        "reason",
        "round_trip",
        "tag",
        "told_at",
        "waiting",
    )

    inbound: Flow
    outbound: Flow

    def __init__(self, identifier: int, kind: int, opened_at: float, tag: bytes) -> None:
        self.id = identifier
        self.kind = kind
        self.opened_at = opened_at
        self.tag = tag
        self.end: End | None = None
        self.code = 0
        self.reason = b""
        self.waiting = 0
        self.doubted: tuple[float, int] | None = None
        self.beat_at = 0.0
        self.controls = 0
        self.asked: tuple[int, float] | None = None
        self.answer_by = 0.0
        self.pinged_at = 0.0
        self.round_trip = -1.0
        self.boundary_by = 0.0
        self.over_by = 0.0
        self.farewell_by = 0.0
        self.told_at = 0.0

    @property
    def browser_signs(self) -> tuple[int, float]:
        """What changes with everything that the browser sends, except pongs that nobody asked for."""
        return self.controls, self.inbound.active_at

    @property
    def active_at(self) -> float:
        """Monotonic time at which data last moved in either direction."""
        return max(self.inbound.active_at, self.outbound.active_at)
