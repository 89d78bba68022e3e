"""Whose a session or a request is, and where it leads.

The gateway makes it at admission. From then on it goes wherever the session is spoken of: into log lines, the
list of sessions and, as a tag that the forwarder keeps, to later gateways.

Rules of this file: it holds nothing that must not be logged (I10).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Self

if TYPE_CHECKING:
    from bascule.vocabulary import Kind

__all__ = ["Client", "Errand"]


class Client(NamedTuple):
    """Who sent a request, as far as its head says.

    Attributes:
        address: Of the browser.
        request_id: What the proxies in front call the request; ``None`` if they call it nothing.
    """

    address: str
    request_id: str | None = None


class Errand(NamedTuple):
    """One errand.

    Attributes:
        route: Name of the route.
        kind: Of the route.
        client: Address of the browser.
        upstream: Where it leads, ``host:port`` or ``unix:/path``.
        user: The signed-in user, or the owner of the JupyterHub server; ``None`` where there is neither.
        expires: When the user's token expires, in seconds since 1970; ``None`` without a token.
        request_id: See `Client`.
    """

    route: str
    kind: Kind
    client: str
    upstream: str
    user: str | None
    expires: int | None = None
    request_id: str | None = None

    def tag(self) -> bytes:
        """Return what a later gateway needs and the forwarder does not know; the forwarder keeps it."""
        route, _, client, upstream, user, expires, request_id = self
        known = f"{route}\0{client}\0{upstream}\0{request_id or ''}"
        if user is not None:
            known = f"{known}\0{'' if expires is None else expires}\0{user}"
        return known.encode("utf-8", "surrogatepass")

    @classmethod
    def of_tag(cls, tag: bytes, kind: Kind) -> Self:
        """Read a tag; the forwarder tells the kind beside it."""
        route, client, upstream, request_id, *login = tag.decode("utf-8", "surrogatepass").split("\0", 5)
        expires, user = login or (None, None)
        expiry = int(expires) if expires else None
        return cls(route, kind, client, upstream, user, expiry, request_id or None)
