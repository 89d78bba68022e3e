"""Upgrades that become no session: each is counted, answered and logged once, here.

Why one becomes none is decided by `admission` and by `attempt`; what goes with each reason is a row of
`refusal_table`. None of them holds a lease any more.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from bascule.errors import NotPermitted, RequestRefused
from bascule.gateway.errands import errand_of
from bascule.gateway.exchanges import SOON, TOO_MANY
from bascule.gateway.listening.answer import error_answer, relay_answer
from bascule.gateway.sessions.departure import Departure, departures
from bascule.gateway.sessions.refusal import REFUSED_STATUS, Refusing
from bascule.gateway.sessions.refusal_table import REFUSAL_TABLE
from bascule.handover.counters import GatewayWord
from bascule.policy.login import NOBODY, Login
from bascule.vocabulary import Refusal

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from bascule.configuration.config import Limits
    from bascule.gateway.connections.legs import Leg
    from bascule.gateway.exchanges import ExchangeCount
    from bascule.gateway.sessions.asked import Asked
    from bascule.gateway.sessions.refusal import Refuser
    from bascule.gateway.upstreams.handshake import Answered
    from bascule.policy.routes import Match
    from bascule.telemetry.accesslog import AccessLog
    from bascule.telemetry.errand import Client

__all__ = ["NoSession", "NoSessions"]


class NoSession(NamedTuple):
    """Why an upgrade became no session after all, and what its browser is to be answered.

    Attributes:
        why: Counted and logged.
        status: HTTP status for the log, where the answer is one.
        detail: For the log.
        answer: The upstream's own answer, or an error of ours; ``None`` for the refusal table's, if any.
    """

    why: Refusal
    status: int | None = None
    detail: str | None = None
    answer: Answered | RequestRefused | None = None


class NoSessions:
    """Answers upgrades that become no session.

    Every method closes the browser's connection at its end. Cancellation is safe in each; what was counted
    is logged.

    Args:
        limits: How they are refused, and how long an upstream's answer may take.
        refuser: Answers by Close or 503, and holds repeated requests.
        access_log: One line for each.
        words: The gateway's counter block.
        exchanges: Counts the relaying of an upstream's answer.
    """

    def __init__(
        self,
        limits: Limits,
        refuser: Refuser,
        access_log: AccessLog,
        words: memoryview,
        exchanges: ExchangeCount,
    ) -> None:
        self._limits = limits
        self._refuser = refuser
        self._access = access_log
        self._words = words
        self._exchanges = exchanges
        self._relaying = departures()

    async def not_admitted(
        self, leg: Leg, refused: RequestRefused, client: Client, match: Match | None
    ) -> None:
        """Answer a request that breaks a rule with an HTTP error.

        Args:
            leg: The browser's connection.
            refused: Which rule.
            client: Who asked.
            match: Where the request leads, if that is known.
        """
        why, login = Refusal.HANDSHAKE, NOBODY
        if isinstance(refused, NotPermitted):
            why, login = Refusal.NOT_PERMITTED, Login(refused.user, None)
        self._count(why)
        whose = client if match is None else errand_of(match, client, login)
        self._access.session_refused(why, whose, status=refused.status, detail=refused.detail)
        with contextlib.suppress(OSError):
            await error_answer(leg, refused)

    def refuse(
        self, asked: Asked, why: Refusal, detail: str | None = None
    ) -> Coroutine[Any, Any, None] | None:
        """Answer with 101 and Close, or with 503, as ``rejectMode`` says; then log the refusal.

        Returns:
            See `Refusing.begin`.
        """
        self._count(why)
        if why is Refusal.CAP and self._refuser.hold_off.is_new(asked.who, time.monotonic()):
            self._words[GatewayWord.DISTINCT_REJECTED_CLIENTS] += 1
        _, code, reason = REFUSAL_TABLE[why]
        assert code is not None
        mode = asked.match.route.reject_mode or self._limits.reject_mode
        refusing = Refusing(self._refuser, asked.leg, asked.early, asked.offer, mode, code, reason)

        def decided() -> None:
            said: dict[str, int] = {}
            if refusing.said:
                said = {"close_code": int(code)} if mode == "close" else {"status": REFUSED_STATUS}
            if refusing.held:
                self._words[GatewayWord.HOLDS] += 1
            self._access.session_refused(
                why, asked.errand, **said, held_seconds=refusing.held or None, detail=detail
            )

        return refusing.begin(self._refuser.seconds_for(asked.who, asked.path), decided)

    async def explain(self, asked: Asked, no_session: NoSession) -> None:
        """Answer an upgrade that held a lease and became no session."""
        why, status, detail, answer = no_session
        if REFUSAL_TABLE[why].code is not None:
            if (rest := self.refuse(asked, why, detail)) is not None:
                await rest
            return
        self._count(why)
        self._access.session_refused(why, asked.errand, status=status, detail=detail)
        with contextlib.suppress(OSError):  # the browser has left before it had its answer
            match answer:
                case None:
                    asked.leg.close()
                case RequestRefused():
                    await error_answer(asked.leg, answer)
                case _:
                    await self._pass_on(asked, answer)

    async def _pass_on(self, asked: Asked, answered: Answered) -> None:
        """Relay what the upstream said instead of 101, unless the browser leaves.

        From now on this is an exchange like that of a plain request.
        """
        fits = self._exchanges.begin()
        try:
            with Departure(asked.leg, self._relaying):
                self._exchanges.answered(answered.head.status if fits else 503)
                if fits:
                    await relay_answer(asked.leg, answered, self._limits.upstream_handshake_timeout)
                else:
                    answered.leg.close()
                    await error_answer(asked.leg, RequestRefused(503, TOO_MANY, SOON))
        finally:
            self._exchanges.end(fits)

    def _count(self, why: Refusal) -> None:
        self._words[REFUSAL_TABLE[why].word] += 1
