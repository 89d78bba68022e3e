"""Who asks for what, as the log and the list of sessions say it, of upgrades and plain requests alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bascule.policy.login import NOBODY
from bascule.telemetry.errand import Client, Errand

if TYPE_CHECKING:
    from bascule.policy.fieldlines import Fields
    from bascule.policy.login import Login
    from bascule.policy.requestrules import RequestRules
    from bascule.policy.routes import Match

__all__ = ["client_of", "errand_of"]


def client_of(rules: RequestRules, peer: str, fields: Fields) -> Client:
    """Say who sent a request.

    Args:
        rules: Whose account of the client is believed.
        peer: Address of the connection's other end, or ``unix:``.
        fields: The request's.
    """
    return Client(rules.client(peer, fields), rules.request_id(peer, fields))


def errand_of(match: Match, client: Client, login: Login = NOBODY) -> Errand:
    """Say for whom ``client`` asks for what ``match`` leads to."""
    address, request_id = client
    return Errand(match.route.name, match.route.kind, address, match.upstream.endpoint, *login, request_id)
