"""Closed sets of words shared by logs, metrics, the admin API and the documents.

Rules of this file: no imports from the project; a value's text is what operators
see, so it never changes once released. Labels of metrics are put together in
`bascule.telemetry.labels`.
"""

from enum import IntEnum, StrEnum
from typing import Self

__all__ = [
    "CAP_REACHED_REASON",
    "CLOSE_CODE_LABELS",
    "CLOSE_SENDERS",
    "DRAINING_REASON",
    "NO_ROOM_REASON",
    "REFUSALS_COUNTED",
    "ROUTE_CAP_REASON",
    "UPSTREAM_UNREACHABLE_REASON",
    "USER_CAP_REASON",
    "Cause",
    "Direction",
    "EndedBy",
    "Kind",
    "Level",
    "Opcode",
    "Refusal",
    "Side",
]


class Kind(StrEnum):
    """What a route leads to. A label only: every kind draws on the one budget."""

    JUPYTER = "jupyter"
    TERMINAL = "terminal"
    APP = "app"


class Side(StrEnum):
    """One of the two connections of a session."""

    BROWSER = "browser"
    UPSTREAM = "upstream"


class Direction(StrEnum):
    """Where a frame travels, in the words of RFC 9110 §3.7."""

    INBOUND = "inbound"
    """Towards the upstream."""
    OUTBOUND = "outbound"
    """Towards the browser."""


class EndedBy(StrEnum):
    """Who ended a session."""

    CLIENT = "client"
    UPSTREAM = "upstream"
    PROXY = "proxy"


class Cause(StrEnum):
    """Why a session ended; together with `EndedBy` a row of the close table (protocol/closing.py)."""

    CLOSED = "closed"
    """A peer sent a Close frame and the closing handshake ran."""
    ABORTED = "aborted"
    """A peer's connection ended without a Close frame."""
    TIMEOUT = "timeout"
    """A half-open peer was found by TCP (keepalive or TCP_USER_TIMEOUT)."""
    PROTOCOL_ERROR = "protocol_error"
    TOO_BIG = "too_big"
    IDLE = "idle"
    DRAIN = "drain"
    ADMIN = "admin"
    EXPIRED = "expired"
    """The login is over."""
    INTERNAL = "internal"
    """Our own fault, or the forwarder that carried the session died."""


class Refusal(StrEnum):
    """Why an upgrade did not become a session: the log's ``reason``; `REFUSALS_COUNTED` are a metric's too.

    Attributes:
        meaning: One sentence for the documents.
    """

    meaning: str

    def __new__(cls, word: str, meaning: str) -> Self:
        """Make a member of its word and its meaning."""
        member = str.__new__(cls, word)
        member._value_ = word
        member.meaning = meaning
        return member

    HANDSHAKE = "handshake", "A malformed handshake, origin, route or credentials: an HTTP error of ours."
    NOT_PERMITTED = (
        "not_permitted",
        "The login is valid, but not what the route's `requiredClaims` demand: 403.",
    )
    UPSTREAM = (
        "upstream",
        "The upstream's answer was not a valid 101; it was passed on, or became our 502 if it was not valid.",
    )
    DRAINING = (
        "draining",
        "After `POST /drain` or SIGTERM; or another gateway was about to take over in a reload.",
    )
    NO_ROOM = (
        "no_room",
        "The open-file limit is too low for the cap, no port was left, or every forwarder was restarting.",
    )
    GONE = "gone", "The client left while the upstream was being dialled."
    USER_CAP = "user_cap", "The user has `limits.maxSessionsPerUser` sessions."
    ROUTE_CAP = "route_cap", "The route has `maxSessions` sessions."
    CAP = "cap", "The cap is reached; the upstream is not touched."
    UNREACHABLE = (
        "unreachable",
        "The upstream refused the connection, timed out, did not resolve, or is where no URL may lead.",
    )


REFUSALS_COUNTED = tuple(why for why in Refusal if why not in (Refusal.CAP, Refusal.UNREACHABLE))
"""The refusals that ``bascule_refusals_total`` counts. The contract has metrics for the two others:
``ws_connection_rejections_total`` and ``ws_upstream_connect_failures_total``."""

CLOSE_SENDERS = ("browser", "upstream", "proxy")
"""Who sent a Close frame, as a label; `proxy` is ourselves."""

CLOSE_CODE_LABELS = (
    "none",
    *(str(code) for code in (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014)),
    "3000-3999",
    "4000-4999",
    "other",
)
"""Close codes as a closed set of labels; `none` is a Close frame without one."""


class Opcode(IntEnum):
    """RFC 6455 §5.2."""

    CONTINUATION = 0x0
    TEXT = 0x1
    BINARY = 0x2
    CLOSE = 0x8
    PING = 0x9
    PONG = 0xA


class Level(StrEnum):
    """Capacity as the badges show it."""

    OK = "ok"
    WARNING = "warning"
    CRITICAL = "critical"


CAP_REACHED_REASON = "WebSocket session cap reached (maxSessionsPerApp)"
"""The contract's exact close reason, to the letter."""

USER_CAP_REASON = "WebSocket session cap of this user reached (maxSessionsPerUser)"
"""See `Refusal.USER_CAP`."""

ROUTE_CAP_REASON = "WebSocket session cap of this route reached (maxSessions)"
"""See `Refusal.ROUTE_CAP`."""

DRAINING_REASON = "The proxy is restarting"
"""Close reason of sessions that a drain ends, and of `Refusal.DRAINING`."""

NO_ROOM_REASON = "No forwarder can take a session"
"""See `Refusal.NO_ROOM`."""

UPSTREAM_UNREACHABLE_REASON = "WebSocket upstream is not reachable"
"""See `Refusal.UNREACHABLE`."""
