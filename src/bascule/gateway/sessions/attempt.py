"""An attempt at a session: from the lease of an upgrade to a forwarder that has the session, or to none.

In order: dial → upstream's answer → hand-over, with the 101 that the forwarder is to say. The browser sees
101 only after the upstream said 101 and a forwarder has the session, or a 101 followed by nothing but Close
(I6).

Rules of this file: an `Attempt` is over in one of three ways, and nothing else touches its lease (I3). A
forwarder takes the session (`Attempt.taken`), and the record has the lease; there is a reason for no session
(`Attempt._is_none`), and the browser is told; or a step fails (`Attempt._is_lost`), and nothing is left.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Final

from bascule.errors import RequestRefused
from bascule.gateway.connections.legs import PlainLeg
from bascule.gateway.connections.patience import Patience
from bascule.gateway.sessions.departure import Departure, departures
from bascule.gateway.sessions.nosession import NoSession
from bascule.gateway.sessions.registry import Record
from bascule.gateway.upstreams.dialler import NoRoom, Unreachable
from bascule.gateway.upstreams.handshake import BadAnswer, Switched
from bascule.handover.counters import KINDS, GatewayWord
from bascule.handover.messages import MAX_ANSWER_BYTES, Adopt
from bascule.policy.fieldlines import values_of
from bascule.policy.location import kept_inside
from bascule.protocol.handshake import switching_protocols
from bascule.protocol.http1 import ResponseHead
from bascule.tasks import spawn
from bascule.vocabulary import Refusal

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Coroutine

    from bascule.configuration.config import Config
    from bascule.gateway.sessions.asked import Asked
    from bascule.gateway.sessions.dispatch import Dispatch
    from bascule.gateway.sessions.nosession import NoSessions
    from bascule.gateway.sessions.registry import Registry
    from bascule.gateway.upstreams.handshake import Answered, Dial
    from bascule.policy.budget import Lease, SessionBudget
    from bascule.policy.holdoff import HoldOff
    from bascule.policy.requestrules import RequestRules
    from bascule.policy.routes import UpstreamAddress
    from bascule.protocol.handshake import Offer

__all__ = ["Attempt", "Attempts"]

_ADMITTED: Final = int(GatewayWord.ADMITTED)
_PEAK_IN_FLIGHT: Final = int(GatewayWord.PEAK_IN_FLIGHT)

_NOT_VALID: Final = RequestRefused(502, "The upstream's answer was not valid.")


class Attempts:
    """What all attempts of a gateway have in common.

    Args:
        config: The configuration in force.
        rules: Says what is forwarded of a request.
        budget: Whose leases the attempts hold.
        registry: Where sessions are recorded.
        dispatch: Gives sessions to the forwarders.
        dial: Prepares one opening handshake with an upstream.
        no_sessions: Counts, answers and logs upgrades that become no session.
        hold_off: Is told who got a session.
        words: The gateway's counter block.
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
        generation: int,
    ) -> None:
        self._budget = budget
        self._words = words
        self._next_id = (generation << 40) + 1
        self.rules = rules
        self.registry = registry
        self.dispatch = dispatch
        self.new_dial = dial
        self.no_sessions = no_sessions
        self.hold_off = hold_off
        self.most_buffered = config.websocket_proxy.incoming_buffer_bytes
        self.expecting = departures()  # those that need no task until their upstreams have answered
        self.one_over = asyncio.Event()  # set whenever an attempt is over

    def count(self) -> None:
        """Count an attempt, and what is in flight with it."""
        self._words[_ADMITTED] += 1
        peak = self._budget.at_latest
        if peak > self._words[_PEAK_IN_FLIGHT]:
            self._words[_PEAK_IN_FLIGHT] = peak

    def new_id(self) -> int:
        """Return the id of another session."""
        identifier = self._next_id
        self._next_id += 1
        return identifier

    async def settle(self, seconds: float) -> None:
        """Wait for attempts under way, refuse those that still wait for an upstream, and wait again.

        Args:
            seconds: Longest time of each of the two waits. The caller has already stopped admitting.

        Cancellation: safe.
        """
        await self._wait_settled(seconds)
        for departing in self.expecting:
            departing.leave()
        await self._wait_settled(seconds)

    async def _wait_settled(self, seconds: float) -> None:
        """Wait until every lease belongs to a session, at most ``seconds``."""
        with contextlib.suppress(TimeoutError):
            async with Patience(seconds):
                while self._budget.in_use > len(self.registry):
                    self.one_over.clear()
                    await self.one_over.wait()


class Attempt:
    """One attempt. It is `Departing` while it expects the upstream's answer, and then `Handed`.

    Args:
        attempts: What it has in common with the others.
        asked: Who asks, and how; the leg is the attempt's from now on.
        lease: The same.

    Attributes:
        message: See `Handed`, as for the others.
        browser: Likewise.
        upstream: Likewise.
    """

    __slots__ = ("_all", "_asked", "_dial", "_errand", "_id", "_lease", "browser", "message", "upstream")

    def __init__(self, attempts: Attempts, asked: Asked, lease: Lease) -> None:
        self._all = attempts
        self._asked = asked
        self._lease = lease
        self._dial: Dial
        self.message: bytes
        self.browser: socket.socket
        self.upstream: socket.socket

    # -- how it is over ------------------------------------------------------------------------

    def taken(self, slot: int) -> None:
        """See `Handed.taken`: the outcome will release the lease; the forwarder has its own descriptors."""
        lease, asked, hold_off = self._lease, self._asked, self._all.hold_off
        self._all.registry.add(Record(self._id, self._errand, lease.since, slot, lease))
        self._all.one_over.set()
        if hold_off.any_refused:
            hold_off.admitted(asked.who, asked.path)
        self.browser.close()
        self.upstream.close()

    def _is_none(self, why: NoSession) -> Coroutine[Any, Any, None]:
        """Give the lease back; return what answers the browser."""
        self._give_back()
        return self._all.no_sessions.explain(self._asked, why)

    def _is_lost(self) -> None:
        """Leave nothing behind: a fault of ours, or we were cancelled."""
        self._asked.leg.close()
        self._give_back()

    def _give_back(self) -> None:
        self._lease.release()
        self._all.one_over.set()

    # -- the upstream --------------------------------------------------------------------------

    def begin(self) -> Coroutine[Any, Any, None] | None:
        """Ask the upstream.

        Returns:
            See `bascule.gateway.sessions.admission.Admission.upgrade`.
        """
        attempts, asked = self._all, self._asked
        try:
            if not attempts.dispatch.has_room():
                return self._is_none(NoSession(Refusal.NO_ROOM))
            attempts.count()
            match, head = asked.match, asked.head
            fields = attempts.rules.onward(match, asked.arrival, head.fields, head.minor, upgrade=True)
            self._dial = dial = attempts.new_dial(match.upstream, match.target, fields, asked.offer)
            if not dial.begin(self.arrived):
                return self._finish()
            attempts.expecting.enter(self)
        except BaseException:
            self._is_lost()
            raise
        return None

    def arrived(self) -> None:
        """Go on: the upstream has said something, or ended."""
        try:
            switched = self._dial.hear()
        except BlockingIOError:
            return
        except BaseException:
            self._all.expecting.leave(self)
            self._dial.give_up()
            self._is_lost()
            raise
        self._all.expecting.leave(self)
        if switched is None:
            spawn(self._finish(), "upgrade", serves=True)
            return
        try:
            why = self._switch(switched)
        except BaseException:
            self._is_lost()
            raise
        if why is not None:
            spawn(self._is_none(why), "upgrade", serves=True)

    def look(self) -> None:
        """See `Departing.look`."""
        if self._asked.leg.is_gone():
            self._give_up(Refusal.GONE)
        else:
            self._all.expecting.enter(self)

    def leave(self) -> None:
        """See `Departing.leave`."""
        self._all.expecting.leave(self)
        self._give_up(Refusal.DRAINING)

    def _give_up(self, why: Refusal) -> None:
        self._dial.give_up()
        spawn(self._is_none(NoSession(why)), "upgrade", serves=True)

    async def _finish(self) -> None:
        """Wait for what is no plain 101 at once."""
        try:
            why = await self._open()
        except BaseException:
            self._is_lost()
            raise
        if why is not None:
            await self._is_none(why)

    async def _open(self) -> NoSession | None:
        """Wait for the upstream; if it agrees, hand the session over and return ``None``."""
        departure = Departure(self._asked.leg, self._all.expecting)
        try:
            with departure:
                opened = await self._dial.finish()
            if departure.by_browser:
                return NoSession(Refusal.GONE)
            if departure.by_us:
                return NoSession(Refusal.DRAINING)
            if isinstance(opened, Switched):
                return self._switch(opened)
            return NoSession(Refusal.UPSTREAM, opened.head.status, answer=self._as_told(opened))
        except Unreachable as error:
            return NoSession(Refusal.UNREACHABLE, detail=str(error))
        except NoRoom as error:
            return NoSession(Refusal.NO_ROOM, detail=str(error))
        except BadAnswer as error:
            return NoSession(Refusal.UPSTREAM, 502, str(error), _NOT_VALID)

    def _as_told(self, answered: Answered) -> Answered:
        """Return the upstream's answer as the browser is told it: a redirect stays below the prefix."""
        sent, head = self._dial.fields, answered.head
        prefix, host = (b"".join(values_of(sent, name)) for name in (b"x-forwarded-prefix", b"host"))
        fields = kept_inside(head.fields, self._asked.match, prefix, host)
        return answered._replace(head=ResponseHead(head.minor, head.status, head.reason, fields))

    # -- the forwarder -------------------------------------------------------------------------

    def _switch(self, opened: Switched) -> NoSession | None:
        """Give both connections to a forwarder, and with them the 101 that the forwarder sends.

        Until a forwarder has them the browser has seen nothing; so whatever happens to this
        process, a browser that has seen this 101 has a session (I6).
        """
        answer = switching_protocols(self._asked.offer.key, opened.agreement.fields)
        if len(answer) > MAX_ANSWER_BYTES:
            opened.leg.close()
            return NoSession(
                Refusal.UPSTREAM, 502, f"a 101 of more than {MAX_ANSWER_BYTES} bytes", _NOT_VALID
            )
        try:
            self._adopt(opened, answer)
            self._let_go(opened)
        except OSError:
            # A TLS leg needs two more descriptors. The browser has had no answer yet, and now gets one.
            opened.leg.close()
            return NoSession(Refusal.NO_ROOM)
        except BaseException:
            opened.leg.close()
            raise
        self._all.dispatch.hand_over(self)
        return None

    def _adopt(self, opened: Switched, answer: bytes) -> None:
        """Say what the forwarder has to know."""
        asked, agreement = self._asked, opened.agreement
        route = asked.match.route
        self._id = self._all.new_id()
        self._errand = asked.errand
        self.message = Adopt(
            self._id, KINDS.index(route.kind), agreement.rsv_first, agreement.rsv_continuation,
            self._lease.since, route.incoming_buffer_bytes or self._all.most_buffered, self._errand.tag(),
            answer, asked.early, opened.early,
        ).encode()  # fmt: skip

    def _let_go(self, opened: Switched) -> None:
        """Take both sockets from their legs, or neither."""
        self.upstream = opened.leg.let_go()
        try:
            self.browser = self._asked.leg.let_go()
        except OSError:
            self.upstream.close()
            raise

    def left(self) -> None:
        """See `Handed.left`: the browser has had no answer yet, and gets one now."""
        self.upstream.close()
        self._asked = self._asked._replace(leg=PlainLeg(asyncio.get_running_loop(), self.browser))
        spawn(self._is_none(NoSession(Refusal.NO_ROOM)), "refusal", serves=True)
