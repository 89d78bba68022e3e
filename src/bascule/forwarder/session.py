"""One session as the forwarder holds it: a flat record and its two flows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from bascule.forwarder.hot import Flow
    from bascule.protocol.closing import End

# Bits of Session.state. One of each per side; BROWSER bits shifted by one are UPSTREAM's.
TOLD_BROWSER: Final = 1
"""A Close has been written to this side, or it can no longer be told anything."""
TOLD_UPSTREAM: Final = 2
HEARD_BROWSER: Final = 4
"""This side's last frame has come: its Close, its fault, or the end of its connection."""
HEARD_UPSTREAM: Final = 8
GONE_BROWSER: Final = 16
"""This side's connection has ended for reading."""
GONE_UPSTREAM: Final = 32
SHUT_BROWSER: Final = 64
"""We have ended this side's connection for writing."""
SHUT_UPSTREAM: Final = 128
CLOSED_BROWSER: Final = 256
"""A Close of ours has been written to the browser, or waits in the stash."""

SETTLED: Final = TOLD_BROWSER | TOLD_UPSTREAM | HEARD_BROWSER | HEARD_UPSTREAM | GONE_BROWSER | GONE_UPSTREAM


class Pending:
    """Control frames waiting for the next frame boundary of one direction.

    One heartbeat, one Close and the latest few pongs (`signs.MAX_PINGS`): later ones push
    earlier ones out, so no flood of pings can grow it.
    """

    __slots__ = ("close", "heartbeat", "pongs")

    def __init__(self) -> None:
        self.heartbeat: bytes = b""
        self.pongs: list[bytes] = []
        self.close: bytes = b""


class Session:
    """A live session.

    Attributes:
        id: Given by the gateway.
        kind: Index into ``tuple(Kind)``.
        opened_at: Monotonic time of admission, in seconds.
        tag: The gateway's own note, returned with all that is told of it.
        inbound: Browser to upstream.
        outbound: Upstream to browser.
        end: The row of the close table that ended it; ``None`` while it lives. Chosen once.
        code: Close code of a peer that ended it, or of ours for the browser; 0 for none.
        reason: Close reason beside it.
        state: The bits above.
        waiting: Bytes that waited for a peer when it was last looked whether the session is idle; 0 before.
        beat_at: When the next heartbeat is due, monotonic.
        boundary_by: Until when a Close of ours may wait for a frame boundary, monotonic; set with ``end``.
        over_by: When it is cut, whatever is still to come, monotonic; infinity for not. Set with ``end``.
        told_at: When it ended or a Close of ours last went out, monotonic; set with ``end``.
        pending_inbound: Control frames waiting for a boundary towards the upstream.
        pending_outbound: Control frames waiting for a boundary towards the browser.
    """

    __slots__ = (
        "beat_at",
        "boundary_by",
        "code",
        "end",
        "id",
        "inbound",
        "kind",
        "opened_at",
        "outbound",
        "over_by",
        "pending_inbound",
        "pending_outbound",
        "reason",
        "state",
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
        self.state = 0
        self.waiting = 0
        self.beat_at = 0.0
        self.boundary_by = 0.0
        self.over_by = 0.0
        self.told_at = 0.0
        self.pending_inbound: Pending | None = None
        self.pending_outbound: Pending | None = None

    @property
    def active_at(self) -> float:
        """Monotonic time at which data last moved in either direction."""
        return max(self.inbound.active_at, self.outbound.active_at)
