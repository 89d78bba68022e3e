"""An upgrade request that may become a session: admitted by all rules but for the caps."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from bascule.telemetry.errand import Errand

if TYPE_CHECKING:
    from bascule.gateway.legs import Leg
    from bascule.policy.routes import Match
    from bascule.protocol.handshake import Offer
    from bascule.protocol.http1 import RequestHead

__all__ = ["Asked", "errand"]


class Asked(NamedTuple):
    """Who asks for a session, for which, and how.

    Attributes:
        leg: The browser's connection.
        head: The request.
        early: Bytes after the head.
        peer: Address of the connection's other end.
        scheme: ``http`` or ``https``: how the request reached us.
        client: Address of the browser: `peer`, or what trusted proxies say.
        offer: What the browser offers.
        match: Where the request leads.
        host: The host it is for.
        user: Whose it is; ``None`` if nobody asks. On a route of JupyterHub, the owner of the server.
    """

    leg: Leg
    head: RequestHead
    early: bytes
    peer: str
    scheme: bytes
    client: str
    offer: Offer
    match: Match
    host: bytes
    user: str | None

    @property
    def who(self) -> str:
        """The key of a hold-off: the signed-in user, if any, since users may share addresses.

        Not the owner of a JupyterHub server, for which anybody may ask.
        """
        return self.client if self.user is None or self.match.hub_route is not None else f"user {self.user}"

    @property
    def errand(self) -> Errand:
        """Whose session it would be."""
        return errand(self.match, self.client, self.user)

    @property
    def path(self) -> bytes:
        """The target without its query: beside `who`, what a hold-off goes by."""
        return self.head.target.partition(b"?")[0]


def errand(match: Match, client: str, user: str | None) -> Errand:
    """Say for whom a browser at ``client`` asks for what ``match`` leads to."""
    return Errand(match.route.name, match.route.kind, client, match.upstream.endpoint, user)
