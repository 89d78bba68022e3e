"""What holds for every request to an upstream, be it for a WebSocket or plain.

Both are judged in one order, and each adds what is its own where the order leaves room for it:

1. **the request itself** (400 and the like): the callers', since we parse an upgrade and aiohttp a plain
   request;
2. **loop** (508): the request has passed through this proxy before. This comes before the route, since a 404
   of a plain request is answered with a page that we ask JupyterHub for: if ``hub.errorTarget`` leads back
   to us and no route is there, each 404 would ask for another. The log loses nothing: the passage before this
   one says where it led;
3. **route** (400 for a path that can be read in two ways, 404);
4. **origin** (403), of upgrades only: it is cheaper to check than a token, and no login mends it;
5. **credentials** (401, 403).

So an upgrade and a plain request to one address are admitted alike, are told the same, and tell the upstream
the same.

Rules of this file: pure; refusals never repeat what was sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bascule.configuration.route import AuthMode
from bascule.errors import RequestRefused
from bascule.policy.clientaddress import TrustedProxies, client_address
from bascule.policy.cookies import without_cookie
from bascule.policy.fieldlines import values_of, with_host
from bascule.policy.forwarding import forwarded_fields
from bascule.policy.login import NOBODY, Login
from bascule.policy.requestid import request_id

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bascule.configuration.config import Config
    from bascule.policy.clientaccount import Arrival
    from bascule.policy.fieldlines import Fields
    from bascule.policy.routes import Match, Routes

__all__ = ["RequestRules"]

_LOOP: Final = "The request came back to this proxy: the routes form a loop."
_NOTHING: Final = "There is nothing at this address."


class RequestRules:
    """The rules of one configuration.

    Args:
        config: Which proxies are trusted, and which cookie no upstream may see.
        routes: Where a target leads.
        require: Checks credentials: given the values of ``Cookie`` and the match, it returns the login or
            raises `RequestRefused`.
        pseudonym: Our name in ``Via``: a token that no other proxy has.

    Attributes:
        trusted: Proxies whose account of the client is believed.
        via: Our element of ``Via`` for requests received with HTTP/1.1.
    """

    def __init__(
        self, config: Config, routes: Routes, require: Callable[[list[bytes], Match], Login], pseudonym: bytes
    ) -> None:
        self._routes = routes
        self._require = require
        self._pseudonym = pseudonym
        self._withheld = config.auth.session.withheld
        self._via10 = b"1.0 " + pseudonym
        self.via = b"1.1 " + pseudonym
        self.trusted = TrustedProxies(config.trusted_proxies)

    def client(self, peer: str, fields: Fields) -> str:
        """Return the client's address, of a connection whose other end is ``peer``."""
        return client_address(peer, fields, self.trusted)

    def request_id(self, peer: str, fields: Fields) -> str | None:
        """Return what the proxies in front call a request that came from ``peer``; ``None`` if nothing."""
        return request_id(peer, fields, self.trusted)

    def find(self, target: bytes, host: bytes, via: Sequence[bytes]) -> tuple[Match, bytes]:
        """Return where a request leads, and the host it is for.

        Args:
            target: The request-target as received.
            host: The request's ``Host``, which is valid; empty for none (HTTP/1.0).
            via: The values of its ``Via``.

        Returns:
            The match, and ``host``, or in its place the host that the target names, whatever the Host field
            says (RFC 9112 §3.2.2).

        Raises:
            RequestRefused: 508, 400 or 404, in this order.
        """
        for value in via:
            if self._pseudonym in value:
                raise RequestRefused(508, _LOOP)
        match = self._routes.match(target, host)
        if match is None:
            raise RequestRefused(404, _NOTHING)
        return match, host if match.authority is None else match.authority

    def login(self, match: Match, fields: Fields) -> Login:
        """Return whose a request is.

        On a route of JupyterHub, which checks logins itself, it is the server owner's.

        Raises:
            RequestRefused: 401 or 403, the route does not let the request through.
        """
        if match.hub_route is not None:
            return Login(match.hub_route.user, None)
        if match.route.auth is AuthMode.NONE:
            return NOBODY
        return self._require(values_of(fields, b"cookie"), match)

    def onward(
        self, match: Match, arrival: Arrival, fields: Fields, minor: int, *, upgrade: bool = False
    ) -> list[tuple[bytes, bytes]]:
        """Return the fields for the upstream.

        Args:
            match: Where the request leads.
            arrival: How the request reached us: its host is that of `find`, its client that of `client`.
            fields: The request's.
            minor: Its minor version of HTTP/1.
            upgrade: Whether the request opens a WebSocket.
        """
        if match.authority is not None:
            fields = with_host(fields, arrival.host)
        via = self.via if minor else self._via10
        sent = forwarded_fields(arrival, self.trusted, fields, match.prefix, via, upgrade=upgrade)
        return sent if self._withheld is None else without_cookie(sent, self._withheld)
