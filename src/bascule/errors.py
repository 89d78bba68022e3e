"""The base of our errors, and the errors that several packages share.

``RequestRefused`` becomes an HTTP answer; an upgrade gets it instead of the 101. Errors after the 101
are rows of the close table (`bascule.protocol.closing`). ``ConfigError`` ends a start with exit status 2.
"""

from __future__ import annotations

__all__ = ["BasculeError", "ConfigError", "HandoverError", "NotPermitted", "RequestRefused"]


class BasculeError(Exception):
    """Base of every error by which one part of this project tells another what went wrong."""


class ConfigError(BasculeError):
    """The configuration cannot be used.

    Attributes:
        problems: One text per problem: the field's path, what was found, what is
            allowed, and the nearest key for a misspelt one.
    """

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class RequestRefused(BasculeError):
    """We answer a request ourselves: instead of a 101, or of the upstream's answer to a plain request.

    Attributes:
        status: HTTP status code.
        detail: One sentence for the body; never repeats what the peer sent.
        fields: Extra response fields, as bytes, such as ``Sec-WebSocket-Version: 13`` with 426.
    """

    def __init__(self, status: int, detail: str, fields: tuple[tuple[bytes, bytes], ...] = ()) -> None:
        super().__init__(f"{status} {detail}")
        self.status = status
        self.detail = detail
        self.fields = fields


class NotPermitted(RequestRefused):
    """The login is valid, and does not open this route: answered with 403.

    Attributes:
        user: Who asked.
    """

    def __init__(self, detail: str, user: str) -> None:
        super().__init__(403, detail)
        self.user = user


class HandoverError(BasculeError):
    """A message between our processes could not be sent or understood.

    The session concerned is aborted, never half-owned.
    """
