"""The one admission point: every upgrade passes through `Admission.upgrade`.

In order: handshake → what holds for every request (`bascule.policy.requestrules`: loop, route,
credentials), with the origin before credentials → lease. What has a lease goes on in
`bascule.gateway.sessions.attempt`, what is refused in `bascule.gateway.sessions.nosession`.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from bascule.errors import RequestRefused
from bascule.gateway.errands import client_of
from bascule.gateway.sessions.asked import Asked
from bascule.gateway.sessions.attempt import Attempt
from bascule.policy.clientaccount import Arrival, seen_by_browser
from bascule.policy.origin import origin_allowed, why_refused
from bascule.protocol.handshake import check_request
from bascule.protocol.http1 import BadHead
from bascule.telemetry.errand import Client
from bascule.vocabulary import Refusal

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from bascule.configuration.config import Config
    from bascule.gateway.life import Life
    from bascule.gateway.listening.upgrade import UpgradeRequest
    from bascule.gateway.sessions.attempt import Attempts
    from bascule.gateway.sessions.nosession import NoSessions
    from bascule.policy.budget import SessionBudget
    from bascule.policy.requestrules import RequestRules
    from bascule.policy.routes import Match

__all__ = ["Admission"]


class Admission:
    """Admits upgrade requests, or refuses them.

    Args:
        config: The configuration in force.
        rules: What holds for every request, plain ones as well.
        budget: The one counter.
        attempts: What those have in common that hold a lease.
        no_sessions: Counts, answers and logs upgrades that become no session.
        life: Tells whether new sessions are admitted.
    """

    def __init__(
        self,
        *,
        config: Config,
        rules: RequestRules,
        budget: SessionBudget,
        attempts: Attempts,
        no_sessions: NoSessions,
        life: Life,
    ) -> None:
        self._config = config
        self._rules = rules
        self._budget = budget
        self._attempts = attempts
        self._no_sessions = no_sessions
        self._life = life

    def upgrade(self, request: UpgradeRequest) -> Coroutine[Any, Any, None] | None:
        """Answer one upgrade request; the leg is handed over or closed.

        Bytes after its head go to the upstream only after the 101 of that.

        Returns:
            What the caller has to let a task do; ``None`` in the usual case, in which the upstream was asked
            at once and its answer is expected.

        Cancellation of that task: the leg is closed and the lease released.
        """
        leg, head, early, (peer, secure) = request
        if isinstance(head, BadHead):
            return self._no_sessions.not_admitted(leg, head, Client(peer), None)
        match: Match | None = None
        client = client_of(self._rules, peer, head.fields)
        try:
            offer = check_request(head)
            match, host = self._rules.find(head.target, offer.host, head.values(b"via"))
            arrival = Arrival(peer, client.address, b"https" if secure else b"http", host)
            seen_scheme, seen_host = seen_by_browser(arrival, self._rules.trusted, head.fields)
            if not origin_allowed(offer.origin, seen_host, seen_scheme, match.route.allowed_origins):
                raise RequestRefused(403, why_refused(offer.origin, seen_host))
            login = self._rules.login(match, head.fields)
            if early and len(early) > self._config.limits.early_bytes:
                raise RequestRefused(400, "Too many bytes were sent before the handshake was answered.")
        except RequestRefused as refused:
            return self._no_sessions.not_admitted(leg, refused, client, match)
        asked = Asked(leg, head, early, client, arrival, offer, match, login)
        if not self._life.admits:
            return self._no_sessions.refuse(asked, Refusal.DRAINING)
        lease = self._budget.try_acquire(time.monotonic(), match.route.name, login.user)
        if isinstance(lease, Refusal):
            return self._no_sessions.refuse(asked, lease)
        return Attempt(self._attempts, asked, lease).begin()
