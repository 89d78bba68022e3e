"""One line for each session that ended, for each that was refused, and for each request that failed.

The line answers the questions of whoever looks for a user's lost notebook: whose, where to,
how long, how much, and above all who ended it and why. It holds no cookie, token, path or
query string (invariant I10) because it is never given one: the route's name stands for the path.

Rules of this file: field names are public and change only with a major version; texts that come from
a peer (address, user, close reason) are bounded here, whatever the logging is set up to do. The cost is
measured by a test: a thousand sessions may end in one second when a pod drains.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from bascule.protocol.frames import MAX_REASON_BYTES
from bascule.telemetry.printable import printable

if TYPE_CHECKING:
    from bascule.vocabulary import Cause, EndedBy, Kind, Refusal

__all__ = ["AccessLog", "EventLog", "SessionEnd"]

_ADDRESS_LIMIT: Final = 64
"""The longest IPv6 address with a zone has 39 + 1 + 15 characters."""
_ENDPOINT_LIMIT: Final = 260
"""A name of at most 253 characters (RFC 1035 §2.3.4), a colon and a port."""
_USER_LIMIT: Final = 128
_DETAIL_LIMIT: Final = 200


class EventLog(Protocol):
    """A structlog logger, as far as this module uses it."""

    def info(self, event: str, **fields: object) -> object:
        """Log an event."""


@dataclass(frozen=True, slots=True)
class SessionEnd:
    """A session from admission to outcome.

    Attributes:
        id: As the admin API shows it.
        route: Name of the route.
        kind: Of the route.
        ended_by: Who ended it.
        cause: Why.
        duration: Seconds from admission to the end.
        client: Address of the browser.
        upstream: Where it led, ``host:port``.
        close_code: Of the Close frame that ended it; ``None`` without a frame or code.
        close_reason: Beside the code.
        user: Who it belonged to, if the route asks.
        forwarder: Slot that carried it; ``None`` if none did.
        bytes_inbound: Payload towards the upstream; ``None``, as the next three, where nobody knows.
        bytes_outbound: Payload towards the browser.
        frames_inbound: Data frames towards the upstream.
        frames_outbound: Data frames towards the browser.
    """

    id: str
    route: str
    kind: Kind | str
    ended_by: EndedBy
    cause: Cause
    duration: float
    client: str
    upstream: str
    close_code: int | None = None
    close_reason: str | bytes = ""
    user: str | None = None
    forwarder: int | None = None
    bytes_inbound: int | None = None
    bytes_outbound: int | None = None
    frames_inbound: int | None = None
    frames_outbound: int | None = None


class AccessLog:
    """Write the lines.

    Args:
        log: Where they go, at level info.
    """

    __slots__ = ("_log",)

    def __init__(self, log: EventLog) -> None:
        self._log = log

    def session_ended(self, end: SessionEnd) -> None:
        """Write the line of a session that was admitted."""
        fields: dict[str, object] = {
            "id": end.id,
            "route": end.route,
            "kind": end.kind,
            "ended_by": end.ended_by,
            "cause": end.cause,
            "duration_seconds": round(end.duration, 3),
            "client": printable(end.client, _ADDRESS_LIMIT),
            "upstream": printable(end.upstream, _ENDPOINT_LIMIT),
        }
        for name in ("bytes_inbound", "bytes_outbound", "frames_inbound", "frames_outbound"):
            if (amount := getattr(end, name)) is not None:
                fields[name] = amount
        if end.close_code is not None:
            fields["close_code"] = end.close_code
        if end.close_reason:
            fields["close_reason"] = printable(end.close_reason, MAX_REASON_BYTES)
        if end.user is not None:
            fields["user"] = printable(end.user, _USER_LIMIT)
        if end.forwarder is not None:
            fields["forwarder"] = end.forwarder
        self._log.info("session ended", **fields)

    def session_refused(
        self,
        reason: Refusal,
        *,
        client: str,
        route: str | None = None,
        kind: Kind | str | None = None,
        upstream: str | None = None,
        status: int | None = None,
        close_code: int | None = None,
        held_seconds: float | None = None,
        user: str | None = None,
        detail: str | bytes | None = None,
    ) -> None:
        """Write the line of an upgrade that became no session.

        Args:
            reason: Why.
            client: Address of the browser.
            route: Name of the route; ``None`` when none matched.
            kind: Of the route.
            upstream: Where it leads, ``host:port``.
            status: HTTP status of the answer, when it was one; without a code, too, it left before.
            close_code: Of the Close frame behind the 101, when that was the answer.
            held_seconds: How long a repeated refusal was held back.
            user: Who asked, if known.
            detail: One sentence; may quote an error.
        """
        fields: dict[str, object] = {"reason": reason, "client": printable(client, _ADDRESS_LIMIT)}
        if route is not None:
            fields["route"] = route
        if kind is not None:
            fields["kind"] = kind
        if upstream is not None:
            fields["upstream"] = printable(upstream, _ENDPOINT_LIMIT)
        if status is not None:
            fields["status"] = status
        if close_code is not None:
            fields["close_code"] = close_code
        if held_seconds is not None:
            fields["held_seconds"] = round(held_seconds, 3)
        if user is not None:
            fields["user"] = printable(user, _USER_LIMIT)
        if detail is not None:
            fields["detail"] = printable(detail, _DETAIL_LIMIT)
        self._log.info("session refused", **fields)

    def request_failed(
        self,
        reason: str,
        *,
        client: str,
        route: str,
        kind: Kind | str,
        upstream: str,
        status: int | None,
        detail: str,
    ) -> None:
        """Write the line of a plain HTTP request that its upstream failed.

        Args:
            reason: A word of a closed set: ``unreachable``, ``timeout``, ``bad_answer``, ``broken_off``.
            client: Address of the browser.
            route: Name of the route.
            kind: Of the route.
            upstream: Where it leads, ``host:port``.
            status: HTTP status of our answer; ``None`` when a part of the upstream's was out already.
            detail: A few words.
        """
        answered = {} if status is None else {"status": status}
        self._log.info(
            "request failed",
            reason=reason,
            client=printable(client, _ADDRESS_LIMIT),
            route=route,
            kind=kind,
            upstream=printable(upstream, _ENDPOINT_LIMIT),
            **answered,
            detail=printable(detail, _DETAIL_LIMIT),
        )
