"""One route as it is configured."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from bascule.policy.endpoints import Origin
from bascule.policy.model import Block
from bascule.vocabulary import Kind

__all__ = ["AuthMode", "RouteConfig"]


class AuthMode(StrEnum):
    """What a request needs before a route lets it through."""

    NONE = "none"
    SESSION = "session"


class RouteConfig(Block):
    """One path and the upstream behind it."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9-]{1,63}$")]
    """Name in logs, metrics and the session list; unique. Lower-case letters, digits and hyphens."""
    kind: Kind = Kind.APP
    """What it leads to: `jupyter`, `terminal` or `app`. A label only, all kinds share the one cap."""
    path: str
    """Path prefix, whole segments: `/lab/` matches `/lab`, `/lab/` and all below, never `/labs`.

    A `{name}` stands for one segment and needs a pattern in `where`. A trailing slash changes nothing.
    """
    upstream: str
    """Where it leads: `http://host:port` or `https://host:port`, without a path.

    Names captured by `path` may stand in the host, one or more in a label, and as the port.
    """
    strip_prefix: Annotated[bool, Field(strict=True)] = False
    """Take the matched prefix off before forwarding, and send it as `X-Forwarded-Prefix`.

    Off: Jupyter knows its own base URL. Streamlit and most apps want it on.
    """
    where: dict[str, str] = Field(default_factory=dict)
    """For each `{name}` the regular expression that its segment must match as a whole.

    It decides what a URL can reach, so it is as narrow as the names really are.
    """
    allowed_origins: tuple[Origin, ...] = ()
    """Origins whose pages may open WebSockets here, as browsers send them; `*` allows all.

    Empty, the default: only the origin the request was sent to (the `Host` field).
    """
    auth: AuthMode = AuthMode.NONE
    """`session` asks for the login cookie of `auth.session`; `none` leaves it to the upstream or the
    ingress."""
    incoming_buffer_bytes: Annotated[int, Field(strict=True, ge=1, le=2147483647)] | None = None
    """Largest frame on this route, in bytes. `null`, the default, is `websocketProxy.incomingBufferBytes`.

    For Streamlit set 209715200, its own maximum.
    """
