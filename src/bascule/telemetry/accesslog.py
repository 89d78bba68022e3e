"""One line for each session that ended, for each that was refused, and for each request that failed.

At level debug every other request has one as well.

The line tells an operator who looks for a user's lost notebook whose session it was, where it led,
how long it lasted, how much it carried, and above all who ended it and why. It holds no cookie, token,
path or query string (invariant I10) because this module is never given one: the route's name stands for
the path.

Rules of this file: field names are public and change only with a major version; texts that come from
a peer (address, user, close reason) are bounded here, however logging is set up. A test measures the cost
of a line: a thousand sessions may end in one second when a pod drains.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from bascule.protocol.frames import MAX_REASON_BYTES
from bascule.telemetry.errand import Client
from bascule.telemetry.printable import printable

if TYPE_CHECKING:
    from bascule.telemetry.errand import Errand
    from bascule.vocabulary import Cause, EndedBy, Refusal

__all__ = ["AccessLog", "EventLog", "SessionEnd"]

_ADDRESS_LIMIT: Final = 64
"""The longest IPv6 address with a zone has 39 + 1 + 15 characters."""
_ENDPOINT_LIMIT: Final = 260
"""A name of at most 253 characters (RFC 1035 §2.3.4), a colon and a port."""
_USER_LIMIT: Final = 128
_REQUEST_ID_LIMIT: Final = 64
_DETAIL_LIMIT: Final = 200
_METHOD_LIMIT: Final = 32


class EventLog(Protocol):
    """A structlog logger, as far as this module uses it."""

    def info(self, event: str, **fields: object) -> object:
        """Log an event."""

    def debug(self, event: str, **fields: object) -> object:
        """Log an event that only an operator who looks for it needs."""


class SessionEnd(NamedTuple):
    """A session from admission to outcome.

    Attributes:
        id: As the admin API shows it.
        errand: Whose it was.
        ended_by: Who ended it.
        cause: Why.
        duration: Seconds from admission to the end.
        close_code: Of the Close frame that ended it; ``None`` without a frame or code.
        close_reason: Beside the code.
        forwarder: Slot that carried it; ``None`` if none did.
        bytes_inbound: Payload bytes towards the upstream; like the next three, ``None`` when not known.
        bytes_outbound: Payload bytes towards the browser.
        frames_inbound: Data frames towards the upstream.
        frames_outbound: Data frames towards the browser.
    """

    id: str
    errand: Errand
    ended_by: EndedBy
    cause: Cause
    duration: float
    close_code: int | None = None
    close_reason: str | bytes = ""
    forwarder: int | None = None
    bytes_inbound: int | None = None
    bytes_outbound: int | None = None
    frames_inbound: int | None = None
    frames_outbound: int | None = None


class AccessLog:
    """Write the lines.

    Args:
        log: Gets the lines at level info; those of plain requests that were refused, which any scanner can
            cause, or answered at level debug.
        debugs: Whether anybody gets the latter; if not, they cost a call each and no line is made.
    """

    __slots__ = ("_debugs", "_log")

    def __init__(self, log: EventLog, debugs: bool = False) -> None:
        self._log = log
        self._debugs = debugs

    def session_ended(self, end: SessionEnd) -> None:
        """Write the line of a session that was admitted."""
        fields: dict[str, object] = {
            "id": end.id,
            **_told(end.errand),
            "ended_by": end.ended_by,
            "cause": end.cause,
            "duration_seconds": round(end.duration, 3),
        }
        for name in ("bytes_inbound", "bytes_outbound", "frames_inbound", "frames_outbound"):
            if (amount := getattr(end, name)) is not None:
                fields[name] = amount
        if end.close_code is not None:
            fields["close_code"] = end.close_code
        if end.close_reason:
            fields["close_reason"] = printable(end.close_reason, MAX_REASON_BYTES)
        if end.forwarder is not None:
            fields["forwarder"] = end.forwarder
        self._log.info("session ended", **fields)

    def session_refused(
        self,
        reason: Refusal,
        whose: Errand | Client,
        *,
        status: int | None = None,
        close_code: int | None = None,
        held_seconds: float | None = None,
        detail: str | bytes | None = None,
    ) -> None:
        """Write the line of an upgrade that became no session.

        Args:
            reason: Why.
            whose: Whose session it would have been; where no route matched, who asked.
            status: HTTP status of the answer, if it was an HTTP error. With neither this nor
                ``close_code``, the browser had left before the answer.
            close_code: Of the Close frame behind the 101, when that was the answer.
            held_seconds: How long a repeated refusal was held back.
            detail: One sentence; may quote an error.
        """
        fields: dict[str, object] = {"reason": reason, **_told(whose)}
        if status is not None:
            fields["status"] = status
        if close_code is not None:
            fields["close_code"] = close_code
        if held_seconds is not None:
            fields["held_seconds"] = round(held_seconds, 3)
        if detail is not None:
            fields["detail"] = printable(detail, _DETAIL_LIMIT)
        self._log.info("session refused", **fields)

    def request_failed(self, reason: str, whose: Errand, *, status: int | None, detail: str) -> None:
        """Write the line of a plain HTTP request that its upstream failed, or that could not be sent to it.

        Args:
            reason: A word of a closed set: ``unreachable``, ``timeout``, ``bad_answer``, ``broken_off``,
                ``no_room``.
            whose: Whose it was.
            status: HTTP status of our answer; ``None`` when part of the upstream's had been sent already.
            detail: A few words.
        """
        answered = {} if status is None else {"status": status}
        self._log.info(
            "request failed",
            reason=reason,
            **_told(whose),
            **answered,
            detail=printable(detail, _DETAIL_LIMIT),
        )

    def request_answered(self, whose: Errand, method: str, status: int, duration: float) -> None:
        """Write the line of a plain HTTP request that its upstream has answered.

        Args:
            whose: Whose it was.
            method: Of the request.
            status: HTTP status of the answer, which has passed whole.
            duration: Seconds from the request's head to the end of the answer.
        """
        if self._debugs:
            method = printable(method, _METHOD_LIMIT)
            seconds = round(duration, 3)
            self._log.debug(
                "request answered", **_told(whose), method=method, status=status, duration_seconds=seconds
            )

    def request_refused(self, client: Client, status: int, detail: str) -> None:
        """Write the line of a plain HTTP request that we refused; scanners can cause any number of them.

        Args:
            client: Who asked.
            status: HTTP status of our answer.
            detail: The sentence in the answer.
        """
        self._log.debug("request refused", status=status, **_told(client), detail=detail)


def _told(whose: Errand | Client) -> dict[str, object]:
    """Return the fields of a line that say whose it is; of a `Client` no more than that is known."""
    fields: dict[str, object]
    if isinstance(whose, Client):
        fields = {"client": printable(whose.address, _ADDRESS_LIMIT)}
    else:
        fields = {
            "route": whose.route,
            "kind": whose.kind,
            "client": printable(whose.client, _ADDRESS_LIMIT),
            "upstream": printable(whose.upstream, _ENDPOINT_LIMIT),
        }
        if whose.user is not None:
            fields["user"] = printable(whose.user, _USER_LIMIT)
    if whose.request_id is not None:
        fields["request_id"] = printable(whose.request_id, _REQUEST_ID_LIMIT)
    return fields
