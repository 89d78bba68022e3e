"""The refusal table: for each reason why an upgrade becomes no session, its counter and its Close.

The log's word, the counter and the browser's Close stand in one row, so that none of them can disagree.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from bascule.handover.counters import GatewayWord
from bascule.protocol.frames import CloseCode
from bascule.vocabulary import (
    CAP_REACHED_REASON,
    DRAINING_REASON,
    NO_ROOM_REASON,
    ROUTE_CAP_REASON,
    UPSTREAM_UNREACHABLE_REASON,
    USER_CAP_REASON,
    Refusal,
)

__all__ = ["REFUSAL_TABLE", "RefusalRow"]


class RefusalRow(NamedTuple):
    """What the gateway does for one reason.

    Attributes:
        word: The counter.
        code: Close code that the browser gets; ``None`` if it gets an HTTP answer, or has left.
        reason: Close reason beside the code.
    """

    word: GatewayWord
    code: CloseCode | None = None
    reason: str = ""


_LATER: Final = CloseCode.TRY_AGAIN_LATER

REFUSAL_TABLE: Final = {
    Refusal.CAP: RefusalRow(GatewayWord.REJECTIONS, _LATER, CAP_REACHED_REASON),
    Refusal.USER_CAP: RefusalRow(GatewayWord.USER_CAP, _LATER, USER_CAP_REASON),
    Refusal.ROUTE_CAP: RefusalRow(GatewayWord.ROUTE_CAP, _LATER, ROUTE_CAP_REASON),
    Refusal.UNREACHABLE: RefusalRow(
        GatewayWord.UPSTREAM_CONNECT_FAILURES, _LATER, UPSTREAM_UNREACHABLE_REASON
    ),
    Refusal.DRAINING: RefusalRow(GatewayWord.DRAINING, CloseCode.SERVICE_RESTART, DRAINING_REASON),
    Refusal.NO_ROOM: RefusalRow(GatewayWord.NO_ROOM, _LATER, NO_ROOM_REASON),
    Refusal.HANDSHAKE: RefusalRow(GatewayWord.HANDSHAKES_REFUSED),
    Refusal.NOT_PERMITTED: RefusalRow(GatewayWord.NOT_PERMITTED),
    Refusal.UPSTREAM: RefusalRow(GatewayWord.UPSTREAM_REFUSED),
    Refusal.GONE: RefusalRow(GatewayWord.CLIENT_GONE),
}
"""`Refusal.meaning` says what each reason means."""
