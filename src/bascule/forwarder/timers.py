"""What becomes due in a session by time alone: a heartbeat, its answer, idleness, a deadline.

Timers live in wheels (`bascule.forwarder.wheel`), which cannot cancel an entry. So an entry that comes due is
checked: it is dropped if it no longer applies, and scheduled again if it was put off meanwhile.

Rules of this file: it says what is due; the relay decides what to do.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, NamedTuple

from bascule.forwarder.ends import owes_close
from bascule.forwarder.session import Asking
from bascule.forwarder.waiting import has_unread, last_waiting_bytes, may_answer_yet, waiting_bytes
from bascule.forwarder.wheel import Wheel

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from bascule.forwarder.session import Session

__all__ = ["Intervals", "Timers"]

_LONGEST_LOOK: Final = 60.0
"""Most seconds between checks whether a session is idle or needs a heartbeat. A session that has ended stays
in the wheels until its next check: with an interval of a day and 50 sessions a second that would be about
180 MiB."""

_CLOSINGS_RESOLUTION: Final = 0.05
"""Seconds by which a closing handshake may overrun its limit."""

_LOOKS: Final = 5
"""Checks whether a peer still takes bytes that wait for it, in the time of a closing handshake; and whether a
browser of which nothing can be said answers yet, in the time of an answer."""

_LATE: Final = 2 * _CLOSINGS_RESOLUTION
"""Seconds by which the end of a closing handshake is only late if this process was held up: stopped, or short
of CPU time."""

_LONGEST_READING: Final = 1.0
"""Most seconds for which such a process then still reads what has come, perhaps long ago: the answer to a
Close may be among it."""

_LONGEST_FAREWELL: Final = 300.0
"""Most seconds for which a peer may delay the end of a session by taking bytes that wait for it: enough for
4 MiB, to which Linux lets a send buffer grow, at 14 kB/s. Without this limit a peer that takes a byte at a
time would hold a slot for months."""


_LONGEST_SILENCE: Final = 60.0
"""Seconds for which a peer may take nothing once the other is gone. On TCP the kernel gives up on it as soon
(the default of ``sockets.userTimeout``); on a Unix socket it never does."""


class Intervals(NamedTuple):
    """Times of heartbeats, their answers, idleness and closing handshakes, in seconds.

    Attributes:
        heartbeat: Between two heartbeats towards a browser; 0 for none.
        pong: Time in which a browser has to answer a heartbeat; 0 if it need not.
        idle: Time without a data frame after which a session ends; 0 for never.
        closing: Time for a closing handshake.
    """

    heartbeat: float
    pong: float
    idle: float
    closing: float


class Timers:
    """The wheels of all sessions of one forwarder.

    Args:
        sessions: The live sessions by id.
        intervals: The configured times.
    """

    def __init__(self, sessions: Mapping[int, Session], intervals: Intervals) -> None:
        self._sessions = sessions
        self._intervals = intervals
        self._beats = Wheel(_resolution(intervals.heartbeat))
        self._answers = Wheel(_resolution(intervals.pong))
        self._idles = Wheel(_resolution(intervals.idle))
        self._closings = Wheel(_CLOSINGS_RESOLUTION)

    @property
    def next_at(self) -> float:
        """When something is due next, monotonic."""
        return min(self._beats.next_at, self._answers.next_at, self._idles.next_at, self._closings.next_at)

    @property
    def asks(self) -> bool:
        """Whether browsers have to answer heartbeats."""
        return self._intervals.pong > 0

    def begin(self, session: Session, now: float) -> None:
        """Schedule the heartbeat and the idle check of a new session."""
        heartbeat, _, idle, _ = self._intervals
        if heartbeat:
            self._await_beat(session, now + heartbeat, now)
        if idle:
            self._idles.schedule(session.id, now + min(idle, _LONGEST_LOOK))

    def end(self, session: Session, now: float, within: float | None) -> None:
        """Set the deadlines of a session that has begun to end.

        Args:
            session: The session.
            now: Monotonic time.
            within: Seconds until the session must be over. If ``None``, a Close may wait for a frame
                boundary for the time of a closing handshake, and its answer may take as long again. Both
                times begin anew while a peer takes bytes that wait for it, up to `_LONGEST_FAREWELL`.
        """
        ending = session.ending
        assert ending is not None
        closing = self._intervals.closing
        session.waiting = 0
        ending.told_at = now
        ending.boundary_by = now + (closing if within is None else within)
        ending.over_by = math.inf if within is None else ending.boundary_by
        ending.farewell_by = now + _LONGEST_FAREWELL
        self._closings.schedule(session.id, min(now + closing / _LOOKS, ending.boundary_by))

    def hurry(self, session: Session, now: float, within: float | None) -> None:
        """Give a session that is ending already no more time than one that begins to end now."""
        ending = session.ending
        assert ending is not None
        over_by = now + (self._intervals.closing if within is None else within)
        if over_by < ending.over_by:
            ending.over_by = over_by
            self._closings.schedule(session.id, over_by)

    def doubt(self, session: Session, now: float) -> None:
        """Watch a session one of whose peers is gone, though what it said last has not been read yet.

        It cannot be read while the other peer takes nothing. Without this, that peer could hold a slot for
        ever, for a browser that has left. A session that is watched already goes on being watched.
        """
        if session.doubted is None:
            self._look_again(session, now)

    def _look_again(self, session: Session, now: float) -> None:
        """Note what waits for the peer that is left, and schedule the next look at it."""
        session.doubted = session.active_at, waiting_bytes(session)
        self._closings.schedule(session.id, now + _LONGEST_SILENCE)

    def change(self, intervals: Intervals, now: float) -> None:
        """Use other intervals from now on.

        The answer to a Close that was sent already gets the new time, counted from when the Close was sent;
        it holds from the next check on. A Close that waits for a frame boundary keeps its deadline.
        """
        before, self._intervals = self._intervals, intervals
        heartbeat, pong, idle, _ = intervals
        sessions = [session for session in self._sessions.values() if session.end is None]
        if heartbeat != before.heartbeat:
            self._beats = Wheel(_resolution(heartbeat))
            if heartbeat:
                # As far apart as before, or spread evenly, whichever is sooner: never all at one moment.
                sessions.sort(key=lambda session: session.beat_at)
                for place, session in enumerate(sessions, 1):
                    share = max(0.0, session.beat_at - now) / before.heartbeat if before.heartbeat else 1.0
                    self._await_beat(session, now + heartbeat * min(share, place / len(sessions)), now)
        if pong != before.pong:
            self._answers = Wheel(_resolution(pong))
            for session in sessions:
                if (asking := session.asking) is not None:
                    asking.asked = None  # the next heartbeat asks
                    asking.pinged_at = 0.0
        if idle != before.idle:
            self._idles = Wheel(_resolution(idle))
            for session in sessions if idle else ():
                session.waiting = 0
                due = max(now, session.active_at + idle)
                self._idles.schedule(session.id, min(due, now + _LONGEST_LOOK))

    def beats(self, now: float) -> Iterator[Session]:
        """Yield the sessions whose browser is to get a heartbeat."""
        for session in self._due(self._beats, now):
            if session.beat_at > now:
                self._await_beat(session, session.beat_at, now)
            else:
                # At a fixed rate, like the pool's: the next is counted from when this one was due, not from
                # now. But heartbeats that were missed while this process was held up are not made up for.
                heartbeat = self._intervals.heartbeat
                due = session.beat_at + heartbeat
                self._await_beat(session, due if due > now else now + heartbeat, now)
                yield session

    def ask(self, session: Session, now: float) -> None:
        """Await the answer to a ping that has gone out, unless that to an earlier one is still to come."""
        if not self.asks:  # no more: it waited for the end of a frame meanwhile
            return
        if session.asking is None:
            session.asking = Asking()
        asking = session.asking
        asking.pinged_at = asking.pinged_at or now
        if asking.asked == session.sign_at:
            return
        asking.answer_by = now + self._intervals.pong
        if asking.asked is None:
            self._answers.schedule(session.id, asking.answer_by)
        asking.asked = session.sign_at

    def silent(self, now: float) -> Iterator[Session]:
        """Yield the sessions whose browser has had a ping of ours and shows no sign of life.

        Of a browser whose bytes wait unread, since the upstream takes none, nothing can be said; nor of one
        that bytes before the ping are still on their way to, as long as TCP is patient.
        """
        for session in self._due(self._answers, now):
            asking = session.asking
            assert asking is not None
            if session.sign_at != asking.asked:
                asking.asked = None
            elif asking.answer_by > now:
                self._answers.schedule(session.id, asking.answer_by)
            elif may_answer_yet(session):
                self._answers.schedule(session.id, now + self._intervals.pong / _LOOKS)
            else:
                yield session

    def idlers(self, now: float) -> Iterator[Session]:
        """Yield the sessions that are idle."""
        idle = self._intervals.idle
        for session in self._due(self._idles, now):
            due = session.active_at + idle
            if due > now:
                session.waiting = 0
                self._idles.schedule(session.id, min(due, now + _LONGEST_LOOK))
            elif has_unread(session):
                # This process was held up (stopped, or short of CPU time): read first what has arrived.
                self._idles.schedule(session.id, now + self._idles.resolution)
            elif (waiting := waiting_bytes(session)) and not 0 < session.waiting <= waiting:
                # A slow peer may still be taking what we read long ago, which is no idleness. If it
                # takes nothing from one check to the next, it is as silent as the other side.
                session.waiting = waiting
                self._idles.schedule(session.id, now + idle)
            else:
                yield session

    def overdue(self, now: float) -> Iterator[Session]:
        """Yield the sessions that have been ending for too long, or should have begun to end (`doubt`)."""
        closing = self._intervals.closing
        for identifier in self._closings.expire(now):
            session = self._sessions.get(identifier)
            if session is None:
                continue
            ending = session.ending
            if ending is None:
                if session.doubted is not None:
                    active_at, waiting = session.doubted
                    if session.active_at == active_at and 0 < waiting <= waiting_bytes(session):
                        yield session
                    else:
                        self._look_again(session, now)
                continue
            waiting = last_waiting_bytes(session)
            if waiting < session.waiting and now < ending.farewell_by:
                # A slow peer is still taking what was sent before the Close.
                ending.told_at = now
                ending.boundary_by = max(ending.boundary_by, now + closing)
            session.waiting = waiting
            # A Close may wait for the end of a long frame; a peer that gets it late still has its full time
            # to reply.
            due = ending.boundary_by if _owes_close(session) else ending.told_at + closing
            due = min(due, ending.over_by)
            if now < due:
                self._closings.schedule(identifier, min(due, now + closing / _LOOKS))
            elif now < ending.over_by and self._has_missed(session, now - due, now):
                self._closings.schedule(identifier, now + _CLOSINGS_RESOLUTION)
            else:
                yield session

    def _has_missed(self, session: Session, late: float, now: float) -> bool:
        """Tell whether a session that is to be cut so late may have been answered while we were held up."""
        ending = session.ending
        assert ending is not None
        if not ending.read_by and late > _LATE:
            ending.read_by = now + _LONGEST_READING
        return now < ending.read_by and has_unread(session)

    def _due(self, wheel: Wheel, now: float) -> Iterator[Session]:
        """Yield the sessions due in a wheel that have not begun to end."""
        for identifier in wheel.expire(now):
            session = self._sessions.get(identifier)
            if session is not None and session.end is None:
                yield session

    def _await_beat(self, session: Session, at: float, now: float) -> None:
        session.beat_at = at
        self._beats.schedule(session.id, min(at, now + _LONGEST_LOOK))


def _owes_close(session: Session) -> bool:
    """Tell whether a Close of ours still waits for a frame boundary."""
    return owes_close(session.inbound) or owes_close(session.outbound)


def _resolution(interval: float) -> float:
    """Return a slot width: coarse enough to batch wake-ups, fine enough to be on time."""
    return min(1.0, max(0.01, interval / 20)) if interval else math.inf
