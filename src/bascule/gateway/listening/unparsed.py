"""What to say about a request that aiohttp does not parse.

Rules of this file: every word is ours. aiohttp's text is only recognised by how it begins: the rest of it may
repeat the request. A text that is not known, such as one of a later release, gets the general answer.
"""

from __future__ import annotations

from typing import Final

from aiohttp.http_exceptions import BadHttpMessage, InvalidURLError, LineTooLong

from bascule.protocol.http1 import TOO_MANY_FIELDS

__all__ = ["HUGE_LENGTH", "TOO_LARGE", "complaint"]

TOO_LARGE: Final = "The request head is too large."
"""Detail of a 431."""

HUGE_LENGTH: Final = "The Content-Length field is too large a number."
"""Detail of a 400."""

_UNKNOWN: Final = "The request could not be understood."

_BOTH: Final = "The request has both Content-Length and Transfer-Encoding; only one is allowed."

_TARGET: Final = "The request's target is not valid; it must be a path or an http URL."

_DETAILS: Final = (
    ("Missing 'Host'", "The request has no Host field; HTTP/1.1 needs one."),
    ("Content-Length can't be present", _BOTH),
    ("Transfer-Encoding can't be present", _BOTH),
    ("Invalid character in Content-Length", "The Content-Length field is not a number."),
    ("Content-Length overflow", HUGE_LENGTH),
    ("Empty Content-Length", "The Content-Length field is not a number."),
    ("Invalid `Transfer-Encoding`", "The Transfer-Encoding field must end in chunked, and say it once."),
    ("Invalid method", "The request's method is not valid, or not a known one."),
    ("Invalid header token", "A field of the request has no colon, or a name that is not valid."),
    ("Invalid header value", "A field of the request has a control character in its value."),
    ("Unexpected whitespace after header", "A field of the request is folded; each must be on one line."),
    ("Invalid characters in url", _TARGET),
    ("Bad status line", "The request line is not valid: a method, a target and HTTP/1.1 are needed."),
    *(
        (f"Duplicate {quoted}", f"The request has more than one {name} field; only one is allowed.")
        for name in (
            "Content-Length", "Content-Location", "Content-Range", "Content-Type", "Etag", "Host",
            "Max-Forwards", "Server", "Transfer-Encoding", "User-Agent",
        )
        for quoted in (name, f"'{name}'")
    ),
)  # fmt: skip
"""How aiohttp's texts begin, which are those of the parser that it is built on, and what we say instead."""


def complaint(error: BaseException | None) -> tuple[int, str]:
    """Return the status, 400 or 431, and the sentence for what aiohttp found wrong."""
    if isinstance(error, LineTooLong):
        return 431, TOO_LARGE
    if isinstance(error, InvalidURLError):
        return 400, _TARGET
    if not isinstance(error, BadHttpMessage):
        return 400, _UNKNOWN
    if error.message.startswith("Too many headers"):  # aiohttp has no class for that
        return 431, TOO_MANY_FIELDS
    details = (detail for begins, detail in _DETAILS if error.message.startswith(begins))
    return 400, next(details, _UNKNOWN)
