"""The one admission point: every upgrade passes through `Admission.upgrade`.

In order: handshake → what holds for every request (`bascule.policy.requestrules`: loop, route,
credentials), with the origin before credentials → lease → dial → upstream's answer → hand-over,
with the 101 that the forwarder is to say. A lease is held from the budget check on and released
exactly once on every path that does not end with a forwarder having the session (I3); the browser
sees 101 only after the upstream said 101 and a forwarder has the session, or a 101 followed by
nothing but Close (I6).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any, Final

from bascule.errors import RequestRefused
from bascule.gateway.asked import Asked
from bascule.gateway.departure import Departure, departures
from bascule.gateway.dialler import NoRoom, Unreachable
from bascule.gateway.legs import PlainLeg
from bascule.gateway.nosession import NoSession
from bascule.gateway.registry import Record
from bascule.gateway.upstream import BadAnswer, Switched
from bascule.handover.counters import KINDS, GatewayWord
from bascule.handover.messages import MAX_ANSWER_BYTES, Adopt
from bascule.policy.clientaccount import Arrival, seen_by_browser
from bascule.policy.origin import origin_allowed, why_refused
from bascule.protocol.handshake import check_request, switching_protocols
from bascule.protocol.http1 import BadHead
from bascule.tasks import spawn
from bascule.vocabulary import Refusal

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Coroutine

    from bascule.gateway.departure import Departing
    from bascule.gateway.dispatch import Dispatch
    from bascule.gateway.life import Life
    from bascule.gateway.nosession import NoSessions
    from bascule.gateway.registry import Registry
    from bascule.gateway.upgrade import UpgradeRequest
    from bascule.gateway.upstream import Dial
    from bascule.gateway.waits import Waits
    from bascule.policy.budget import Lease, SessionBudget
    from bascule.policy.config import Config
    from bascule.policy.holdoff import HoldOff
    from bascule.policy.requestrules import RequestRules
    from bascule.policy.routes import Match, UpstreamAddress
    from bascule.protocol.handshake import Offer

__all__ = ["Admission"]

_ADMITTED: Final = int(GatewayWord.ADMITTED)
_PEAK_IN_FLIGHT: Final = int(GatewayWord.PEAK_IN_FLIGHT)


_NOT_VALID: Final = RequestRefused(502, "The upstream's answer was not valid.")


class _OnItsWay:
    """A session between its lease and a forwarder; holds the lease and both connections."""

    __slots__ = ("_admission", "_asked", "_record", "browser", "message", "upstream")

    def __init__(
        self,
        admission: Admission,
        asked: Asked,
        record: Record,
        message: bytes,
        browser: socket.socket,
        upstream: socket.socket,
    ) -> None:
        self._admission = admission
        self._asked = asked
        self._record = record
        self.message = message
        self.browser = browser
        self.upstream = upstream

    def taken(self, slot: int) -> None:
        """See `Handed.taken`: the outcome will release the lease; the forwarder has its own descriptors."""
        self._record.slot = slot
        self._admission.took(self._asked, self._record)
        self.browser.close()
        self.upstream.close()

    def left(self) -> None:
        """See `Handed.left`: the browser has had no answer yet, and gets one now."""
        self.upstream.close()
        leg = PlainLeg(asyncio.get_running_loop(), self.browser)
        self._admission.left(self._asked._replace(leg=leg), self._record)


class _Expecting:
    """A session whose upstream has been asked; it holds the lease, and needs no task until that answers."""

    __slots__ = ("_admission", "_asked", "_dial", "_lease", "_looks")

    def __init__(
        self, admission: Admission, asked: Asked, lease: Lease, dial: Dial, looks: Waits[Departing]
    ) -> None:
        self._admission = admission
        self._asked = asked
        self._lease = lease
        self._dial = dial
        self._looks = looks

    def arrived(self) -> None:
        """Go on: the upstream has said something, or ended."""
        try:
            switched = self._dial.hear()
        except BlockingIOError:
            return
        self._looks.leave(self)
        self._admission.heard(self._asked, self._lease, self._dial, switched)

    def look(self) -> None:
        """See `Departing.look`."""
        if self._asked.leg.is_gone():
            self._give_up(Refusal.GONE)
        else:
            self._looks.enter(self)

    def leave(self) -> None:
        """See `Departing.leave`."""
        self._looks.leave(self)
        self._give_up(Refusal.DRAINING)

    def _give_up(self, why: Refusal) -> None:
        self._dial.give_up()
        self._admission.gave_up(self._asked, self._lease, why)


class Admission:
    """Turns upgrade requests into sessions, or into refusals.

    Args:
        config: The configuration in force.
        rules: What holds for every request, plain ones as well.
        budget: The one counter.
        registry: Where sessions are recorded.
        dispatch: Gives sessions to the forwarders.
        dial: Prepares one opening handshake with an upstream.
        no_sessions: Counts, answers and logs upgrades that become no session.
        hold_off: Is told who got a session.
        words: The gateway's counter block.
        life: Tells whether new sessions are admitted.
        generation: How many gateways came before this one, which makes ids unique.
    """

    def __init__(
        self,
        *,
        config: Config,
        rules: RequestRules,
        budget: SessionBudget,
        registry: Registry,
        dispatch: Dispatch,
        dial: Callable[[UpstreamAddress, bytes, list[tuple[bytes, bytes]], Offer], Dial],
        no_sessions: NoSessions,
        hold_off: HoldOff,
        words: memoryview,
        life: Life,
        generation: int,
    ) -> None:
        self._config = config
        self._rules = rules
        self._budget = budget
        self._registry = registry
        self._dispatch = dispatch
        self._new_dial = dial
        self._no_sessions = no_sessions
        self._hold_off = hold_off
        self._words = words
        self._next_id = (generation << 40) + 1
        self._dialling = departures()
        self._life = life
        self._settled = asyncio.Event()  # set whenever a lease has become a session's, or is given back

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
            return self._no_sessions.not_admitted(leg, head, peer, None)
        match: Match | None = None
        client = self._rules.client(peer, head.fields)
        try:
            offer = check_request(head)
            match, host = self._rules.find(head.target, offer.host, head.values(b"via"))
            arrival = Arrival(peer, client, b"https" if secure else b"http", host)
            seen_scheme, seen_host = seen_by_browser(arrival, self._rules.trusted, head.fields)
            if not origin_allowed(offer.origin, seen_host, seen_scheme, match.route.allowed_origins):
                raise RequestRefused(403, why_refused(offer.origin, seen_host))
            user = self._rules.user(match, head.fields)
            if early and len(early) > self._config.limits.early_bytes:
                raise RequestRefused(400, "Too many bytes were sent before the handshake was answered.")
        except RequestRefused as refused:
            return self._no_sessions.not_admitted(leg, refused, client, match)
        asked = Asked(leg, head, early, arrival, offer, match, user)
        if not self._life.admits:
            return self._no_sessions.refuse(asked, Refusal.DRAINING)
        lease = self._budget.try_acquire(time.monotonic(), match.route.name, user)
        if isinstance(lease, Refusal):
            return self._no_sessions.refuse(asked, lease)
        try:
            return self._dial(asked, lease)
        except BaseException:
            self._drop(asked, lease)
            raise

    def _dial(self, asked: Asked, lease: Lease) -> Coroutine[Any, Any, None] | None:
        """Ask the upstream; if the answer is then expected, return ``None``, else what a task has to do."""
        if not self._dispatch.has_room():
            return self._finish(asked, lease, None)
        self._words[_ADMITTED] += 1
        peak = self._budget.at_latest
        if peak > self._words[_PEAK_IN_FLIGHT]:
            self._words[_PEAK_IN_FLIGHT] = peak
        match, head = asked.match, asked.head
        fields = self._rules.onward(match, asked.arrival, head.fields, head.minor, upgrade=True)
        dial = self._new_dial(match.upstream, match.target, fields, asked.offer)
        expecting = _Expecting(self, asked, lease, dial, self._dialling)
        if not dial.begin(expecting.arrived):
            return self._finish(asked, lease, dial)
        self._dialling.enter(expecting)
        return None

    def heard(self, asked: Asked, lease: Lease, dial: Dial, switched: Switched | None) -> None:
        """Go on when the upstream has answered; ``switched`` is its 101, if it is a plain one."""
        if switched is None:
            spawn(self._finish(asked, lease, dial), "upgrade", serves=True)
            return
        try:
            no_session = self._switch(asked, lease, switched)
        except BaseException:
            self._drop(asked, lease)
            raise
        if no_session is not None:
            self._conclude(asked, lease, no_session)

    def gave_up(self, asked: Asked, lease: Lease, why: Refusal) -> None:
        """Release the lease, and answer the browser if it is there: its upstream is waited for no longer."""
        self._conclude(asked, lease, NoSession(why))

    def _conclude(self, asked: Asked, lease: Lease, no_session: NoSession) -> None:
        lease.release()
        self._settled.set()
        spawn(self._no_sessions.explain(asked, no_session), "upgrade", serves=True)

    def _drop(self, asked: Asked, lease: Lease) -> None:
        """Leave nothing behind where no forwarder has the session: a fault of ours, or we were cancelled."""
        asked.leg.close()
        lease.release()
        self._settled.set()

    async def _finish(self, asked: Asked, lease: Lease, dial: Dial | None) -> None:
        """Wait for the upstream, and hand the session over, with the lease; or say why there is none.

        Without ``dial`` no forwarder has room.
        """
        try:
            no_session = NoSession(Refusal.NO_ROOM) if dial is None else await self._open(asked, lease, dial)
        except BaseException:
            self._drop(asked, lease)
            raise
        if no_session is not None:
            lease.release()
        self._settled.set()
        if no_session is not None:
            await self._no_sessions.explain(asked, no_session)

    async def _open(self, asked: Asked, lease: Lease, dial: Dial) -> NoSession | None:
        """Wait for the upstream; if it agrees, hand the session over, with the lease, and return ``None``."""
        departure = Departure(asked.leg, self._dialling)
        try:
            with departure:
                opened = await dial.finish()
            if departure.by_browser:
                return NoSession(Refusal.GONE)
            if departure.by_us:
                return NoSession(Refusal.DRAINING)
            if isinstance(opened, Switched):
                return self._switch(asked, lease, opened)
            return NoSession(Refusal.UPSTREAM, opened.head.status, answer=opened)
        except Unreachable as error:
            return NoSession(Refusal.UNREACHABLE, detail=str(error))
        except NoRoom as error:
            return NoSession(Refusal.NO_ROOM, detail=str(error))
        except BadAnswer as error:
            return NoSession(Refusal.UPSTREAM, 502, str(error), _NOT_VALID)

    def _switch(self, asked: Asked, lease: Lease, opened: Switched) -> NoSession | None:
        """Give both connections to a forwarder, and with them the 101 that the forwarder sends.

        Until a forwarder has them the browser has seen nothing; so whatever happens to this
        process, a browser that has seen this 101 has a session (I6).
        """
        answer = switching_protocols(asked.offer.key, opened.agreement.fields)
        if len(answer) > MAX_ANSWER_BYTES:
            opened.leg.close()
            return NoSession(
                Refusal.UPSTREAM, 502, f"a 101 of more than {MAX_ANSWER_BYTES} bytes", _NOT_VALID
            )
        identifier = self._next_id
        self._next_id += 1
        route = asked.match.route
        record = Record(identifier, asked.errand, lease.since, -1, lease)
        limit = route.incoming_buffer_bytes or self._config.websocket_proxy.incoming_buffer_bytes
        adopt = Adopt(
            identifier, KINDS.index(route.kind), opened.agreement.rsv_first,
            opened.agreement.rsv_continuation, lease.since, limit, record.errand.tag(), answer,
            asked.early, opened.early,
        )  # fmt: skip
        try:
            message = adopt.encode()
        except BaseException:
            opened.leg.close()
            raise
        try:
            upstream = opened.leg.let_go()
            try:
                browser = asked.leg.let_go()
            except OSError:
                upstream.close()
                raise
        except OSError:
            # A TLS leg needs two more descriptors. The browser has had no answer yet, and now gets one.
            opened.leg.close()
            return NoSession(Refusal.NO_ROOM)
        self._dispatch.hand_over(_OnItsWay(self, asked, record, message, browser, upstream))
        return None

    async def settle(self, seconds: float) -> None:
        """Wait for handshakes under way, refuse those that still wait for an upstream, and wait again.

        Args:
            seconds: Longest time of each of the two waits. The caller has already stopped admitting.

        Cancellation: safe.
        """
        await self._wait_settled(seconds)
        for departure in self._dialling:
            departure.leave()
        await self._wait_settled(seconds)

    async def _wait_settled(self, seconds: float) -> None:
        """Wait until every lease belongs to a session, at most ``seconds``."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._budget.in_use > len(self._registry):
                    self._settled.clear()
                    await self._settled.wait()

    def took(self, asked: Asked, record: Record) -> None:
        """Record a session that a forwarder has; from here on its record owns the lease."""
        self._registry.add(record)
        self._settled.set()
        if self._hold_off.any_refused:
            self._hold_off.admitted(asked.who, asked.path)

    def left(self, asked: Asked, record: Record) -> None:
        """Release the lease of a session that no forwarder has taken, and say so to its browser."""
        record.lease.release()
        self._settled.set()
        spawn(self._no_sessions.refuse(asked, Refusal.NO_ROOM), "refusal", serves=True)
