"""Closed sets of words shared by logs, metrics, the admin API and the documents.

Rules of this file: no imports from the project; a value's text is what operators
see, so it never changes once released. Labels of metrics are put together in
`bascule.telemetry.labels`.
"""

from enum import IntEnum, StrEnum


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
    INTERNAL = "internal"
    """Our own fault, or the forwarder that carried the session died."""


class Refusal(StrEnum):
    """Why an upgrade became no session: the log's ``reason``, and the metrics' as far as one counts it."""

    HANDSHAKE = "handshake"
    """Answered with an HTTP error of ours."""
    UPSTREAM = "upstream"
    """The upstream's answer was something else than 101."""
    DRAINING = "draining"
    NO_ROOM = "no_room"
    """Of all forwarders: the limit of open files is below the cap, or every one is being restarted."""
    GONE = "gone"
    """The browser left while the upstream was being dialled."""
    USER_CAP = "user_cap"
    """The user has as many sessions as one may have; the pod has room."""
    ROUTE_CAP = "route_cap"
    """The route has as many sessions as it may have; the pod has room."""
    CAP = "cap"
    """Counted by the contract's ``ws_connection_rejections_total``."""
    UNREACHABLE = "unreachable"
    """Counted by the contract's ``ws_upstream_connect_failures_total``."""


REFUSALS_COUNTED = (
    Refusal.HANDSHAKE,
    Refusal.UPSTREAM,
    Refusal.DRAINING,
    Refusal.NO_ROOM,
    Refusal.GONE,
    Refusal.USER_CAP,
    Refusal.ROUTE_CAP,
)
"""Those that ``bascule_refusals_total`` counts: all that the contract has no metric for."""

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
"""Beside 1013, to one who has as many sessions as one may have."""

ROUTE_CAP_REASON = "WebSocket session cap of this route reached (maxSessions)"
"""Beside 1013, where a route has as many sessions as it may have."""

DRAINING_REASON = "The proxy is restarting"
"""Beside 1012, for sessions that are let go and for upgrades that come while they are."""

NO_ROOM_REASON = "No forwarder can take a session"
"""Beside 1013: the limit of open files is below the cap, or every forwarder is being restarted."""

UPSTREAM_UNREACHABLE_REASON = "WebSocket upstream is not reachable"
"""The reason of the other 1013: the cap has nothing to do with it."""
