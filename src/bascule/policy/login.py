"""Whose a request is, and until when."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["NOBODY", "Login"]


class Login(NamedTuple):
    """What a request has shown of who sends it.

    Attributes:
        user: Whose it is; ``None`` if nobody asks. On a route of JupyterHub, the owner of the server.
        expires: When its token expires, in seconds since 1970; ``None`` without a token.
    """

    user: str | None
    expires: int | None


NOBODY = Login(None, None)
