"""An upgrade request that may become a session: admitted by all rules but for the caps."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from bascule.gateway.errands import errand_of

if TYPE_CHECKING:
    from bascule.gateway.connections.legs import Leg
    from bascule.policy.clientaccount import Arrival
    from bascule.policy.login import Login
    from bascule.policy.routes import Match
    from bascule.protocol.handshake import Offer
    from bascule.protocol.http1 import RequestHead
    from bascule.telemetry.errand import Client, Errand

__all__ = ["Asked"]


class Asked(NamedTuple):
    """Who asks for a session, for which, and how.

    Attributes:
        leg: The browser's connection.
        head: The request.
        early: Bytes after the head.
        client: Who asks, for the log.
        arrival: How the request reached us, and from where.
        offer: What the browser offers.
        match: Where the request leads.
        login: Whose it is.
    """

    leg: Leg
    head: RequestHead
    early: bytes
    client: Client
    arrival: Arrival
    offer: Offer
    match: Match
    login: Login

    @property
    def who(self) -> str:
        """The key of a hold-off: the signed-in user, if any, since users may share addresses.

        Not the owner of a JupyterHub server, for which anybody may ask.
        """
        user = self.login.user
        if user is None or self.match.hub_route is not None:
            return self.client.address
        return f"user {user}"

    @property
    def errand(self) -> Errand:
        """Whose session it would be."""
        return errand_of(self.match, self.client, self.login)

    @property
    def path(self) -> bytes:
        """The target without its query: beside `who`, what a hold-off goes by."""
        return self.head.target.partition(b"?")[0]
