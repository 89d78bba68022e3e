"""Control frames of ours that wait for the next frame boundary of one direction."""

from __future__ import annotations

__all__ = ["Pending"]


class Pending:
    """The frames that wait.

    One heartbeat, one Close and the latest few pongs (`signs.MAX_PINGS`): later ones push
    earlier ones out, so no flood of pings can grow it.
    """

    __slots__ = ("close", "heartbeat", "pongs")

    def __init__(self) -> None:
        self.heartbeat: bytes = b""
        self.pongs: list[bytes] = []
        self.close: bytes = b""
