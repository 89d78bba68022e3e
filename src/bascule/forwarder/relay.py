"""Relay: everything that happens to a session besides moving its messages.

The engine (`hot`) moves frames and reports signs; this file decides what a sign
means, runs the closing handshake by the close table and reports the outcome. It runs
perhaps once in a thousand frames.

How a session ends: something picks a row of the close table (`_end`), once. Each
side is then *told* (a Close frame at a boundary, or nothing where it is gone) and
*heard* (its Close, or the end of its connection). A side that is both is shut for
writing; when both connections have also ended for reading, or the deadline of the
closing handshake has passed, the session is over. Reading to the end matters: a
connection closed with unread bytes is reset, and a reset can overtake our Close.
Each flow records this for its own two ends: whether its source was heard and is gone,
and whether its sink was told and is shut. What is gone was heard, and what is shut, or has
a Close of ours, was told. Nothing of this is undone, except that a Close of ours may be lost
with other bytes that a sink no longer takes; such a sink counts as told.

Rules of this file:

* Detach before closing, shut down before closing: another process may hold a duplicate
  of a descriptor (I11).
* One report per session, after both descriptors are closed (I8).
"""

from __future__ import annotations

import errno
import os
import socket
from typing import TYPE_CHECKING, Final

from bascule.forwarder import signs
from bascule.forwarder.connection import failure, shut
from bascule.forwarder.controlframes import ControlFrames
from bascule.forwarder.ends import give_up, has_closed, is_over
from bascule.forwarder.hot import Engine, Flow
from bascule.forwarder.session import Ending, Session
from bascule.forwarder.timers import Intervals, Timers
from bascule.handover.counters import ForwarderWord, close_code_label, close_code_word, round_trips_of
from bascule.handover.messages import Adopt, Ended, Live
from bascule.protocol.closing import CLOSE_TABLE, End
from bascule.telemetry.roundtrips import ROUND_TRIPS

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Relay"]

_CLOSED = {True: End.CLIENT_CLOSED, False: End.UPSTREAM_CLOSED}
_ABORTED = {True: End.CLIENT_ABORTED, False: End.UPSTREAM_ABORTED}
_TIMEOUT = {True: End.CLIENT_TIMEOUT, False: End.UPSTREAM_TIMEOUT}
_BROKEN = {True: End.CLIENT_PROTOCOL_ERROR, False: End.UPSTREAM_PROTOCOL_ERROR}
_TOO_BIG = {True: End.CLIENT_TOO_BIG, False: End.UPSTREAM_TOO_BIG}
"""Rows by whether the source of the flow is the browser."""

_GIVEN_UP: Final = frozenset((errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH))
"""Errors by which TCP says that a peer no longer answers; a router may have given the reason."""

_NO_SESSION: Final = Session(-1, 0, 0.0, b"")
"""Owner of flows whose session is over: never among the live ones."""


class Relay:
    """All sessions of one forwarder.

    Args:
        engine: Moves the frames.
        words: The forwarder's counter block.
        intervals: Times of heartbeats, their answers, idleness and closing handshakes.
        report: Called once per session with its outcome, which is not counted yet: see `Outbox`.
        flow: The class of flows of the engine's build.
    """

    def __init__(
        self,
        engine: Engine,
        words: memoryview,
        *,
        intervals: Intervals,
        report: Callable[[Ended], None],
        flow: type[Flow] = Flow,
    ) -> None:
        self.sessions: dict[int, Session] = {}
        self._engine = engine
        self._words = words
        self._report = report
        self._flow = flow
        self._round_trips = round_trips_of(words)
        self._timers = Timers(self.sessions, intervals)
        self._frames = ControlFrames(engine, words, self._timers, self._sink_failed)

    # -- the life of a session ------------------------------------------------------

    def adopt(self, message: Adopt, browser: int, upstream: int) -> None:
        """Start relaying a session; from here on both descriptors are this object's to close.

        The answer to the browser goes out first; then the bytes that the gateway had already read
        are processed (I12). If epoll takes no more connections, both are closed and the session ends.
        """
        now = self._engine.now
        session = Session(message.id, message.kind, message.opened_at, message.tag)
        frame_limit, first, continuation = message.frame_limit, message.rsv_first, message.rsv_continuation
        inbound = self._flow(session, browser, upstream, True, frame_limit, first, continuation, now)
        outbound = self._flow(session, upstream, browser, False, frame_limit, first, continuation, now)
        inbound.opposite = outbound
        outbound.opposite = inbound
        session.inbound = inbound
        session.outbound = outbound
        try:
            self._engine.attach(inbound)
            self._engine.attach(outbound)
        except OSError as error:  # epoll takes no more, for want of memory or by the user's limit
            self._release(session)
            _cut_rings(session)
            self.give_back(message, errno.errorcode.get(error.errno or 0, "epoll").encode())
            return
        self.sessions[session.id] = session
        self._words[ForwarderWord.OPEN] += 1
        self._timers.begin(session, now)
        if found := self._engine.begin(outbound, message.answer):
            self.on_signs(outbound, found)
        for flow, early in ((outbound, message.outbound), (inbound, message.inbound)):
            if early and session.id in self.sessions:
                self.on_signs(flow, self._engine.feed(flow, early))

    def give_back(self, message: Adopt, reason: bytes = b"no descriptors left") -> None:
        """Report the end of a session whose connections the kernel dropped, or epoll did not take."""
        duration = max(0.0, self._engine.now - message.opened_at)
        self._words[ForwarderWord.OPEN] += 1  # until it is counted
        self._report(
            Ended(
                message.id, message.kind, End.NO_DESCRIPTORS, 0, duration, 0.0, 0, 0, 0, 0, reason,
                message.tag,
            )
        )  # fmt: skip

    def end(
        self, identifier: int, end: End, code: int = 0, reason: bytes = b"", within: float | None = None
    ) -> None:
        """End a session by a row of the close table; if it is ending already, only its deadline may move up.

        Args:
            identifier: The session.
            end: The row.
            code: Replaces the row's close code towards the browser, unless 0.
            reason: Replaces the row's reason, unless empty.
            within: See `Timers.end`.
        """
        session = self.sessions.get(identifier)
        if session is None:
            return
        if session.end is not None:
            self._timers.hurry(session, self._engine.now, within)
            return
        self._end(session, end, code, reason, within)
        self._settle(session)

    def live(self, request: int) -> list[Live]:
        """Return one `Live` for each session."""
        now = self._engine.now
        return [
            Live(
                request, session.id, session.kind, session.opened_at, max(0.0, now - session.active_at),
                session.round_trip, session.inbound.payload, session.outbound.payload, session.inbound.frames,
                session.outbound.frames, session.tag,
            )
            for session in self.sessions.values()
        ]  # fmt: skip

    # -- what the engine reports ------------------------------------------------------

    def on_signs(self, flow: Flow, found: int) -> None:
        """Act on the signs of one flow."""
        session: Session = flow.session
        if session.id not in self.sessions:
            return
        if found & signs.SINK_ERROR:
            self._sink_failed(flow)
        if found & signs.PING:
            self._frames.answer_pings(flow)
        asking = session.asking
        if asking is not None and flow.inbound and found & (signs.PING | signs.PONG):
            asking.heard_at = self._engine.now
            if found & signs.PONG and asking.pinged_at:
                asking.round_trip = max(0.0, self._engine.now - asking.pinged_at)
                asking.pinged_at = 0.0
                ROUND_TRIPS.count(self._round_trips, asking.round_trip)
        if found & signs.CLOSE:
            self._on_close(session, flow)
        if found & signs.FAULT:
            flow.heard = True
            rows = _TOO_BIG if flow.fault == signs.FAULT_TOO_BIG else _BROKEN
            self._end(session, rows[flow.inbound])
            # If this peer got the other side's Close and replied with a bad frame, we answer in its place.
            self._answer_for(session, flow)
        if found & (signs.EOF | signs.ERROR):
            self._on_gone(session, flow, bool(found & signs.ERROR))
        if found & signs.BOUNDARY:
            self._frames.send_waiting(flow)
        if found & signs.LEFT and session.end is None:
            # Half closed or failed: both end a session, but only behind the bytes that are still to be read.
            self._timers.doubt(session, self._engine.now)
        if session.end is not None:
            self._settle(session)

    def _sink_failed(self, flow: Flow) -> None:
        """Note that a flow's sink takes no more bytes.

        That does not pick a row yet. What the sink's peer has sent, perhaps a Close, is read
        first, and how that direction ends picks the row; or `on_time`, if it cannot be read.
        """
        # Usually the connection has failed as a whole. But a Unix socket's peer may have ended only its
        # reading, and the kernel may lack memory: then nothing else would ever end that direction.
        shut(flow.sink, socket.SHUT_RDWR)
        flow.told = True
        flow.closed = False  # we write nothing behind a Close, so a Close of ours was still in the stash
        if flow.mode == signs.RELAY:
            flow.mode = signs.DISCARD
        flow.stop = True
        session: Session = flow.session
        if session.end is None:
            self._timers.doubt(session, self._engine.now)

    def _on_close(self, session: Session, flow: Flow) -> None:
        flow.heard = True
        sender = "browser" if flow.inbound else "upstream"
        label = close_code_label(flow.close_code or None)
        self._words[close_code_word(sender, label)] += 1
        if not flow.stop:
            flow.told = True
        # Otherwise this Close answers ours, or crosses it: the sink gets ours instead of this one. Or the
        # sink has failed: even then this Close picks the row, which sets a deadline.
        self._end(session, _CLOSED[flow.inbound], flow.close_code, flow.close_reason)

    def _on_gone(self, session: Session, flow: Flow, failed: bool) -> None:
        silent = not flow.heard
        flow.heard = flow.gone = True
        self._engine.pause(flow)
        back = flow.opposite
        assert back is not None
        if failed:
            # A reset or timed-out connection takes nothing any more.
            back.told = True
            if back.stashed:
                back.closed = False
            self._engine.drop_stash(back)
            if back.mode == signs.RELAY:
                back.mode = signs.DISCARD
            back.stop = True
        if silent and session.end is None:
            # A failed connection reports its error only once, to the first call: while bytes wait for
            # a peer that is a write, and a read then finds a plain end of stream.
            given_up = (failed and flow.error in _GIVEN_UP) or back.error in _GIVEN_UP
            self._end(session, (_TIMEOUT if given_up else _ABORTED)[flow.inbound])
        if silent:
            # If this peer got the other side's Close and left without an answer, we answer in its place.
            self._answer_for(session, flow)
        if flow.remaining and flow.mode == signs.RELAY:
            give_up(flow)

    # -- ending -----------------------------------------------------------------------

    def _end(
        self, session: Session, end: End, code: int = 0, reason: bytes = b"", within: float | None = None
    ) -> None:
        """Choose the row, once, and tell both sides what it says."""
        if session.end is not None:
            return
        for flow in (session.inbound, session.outbound):
            if has_closed(flow):
                # The engine has forwarded this peer's Close already, though its sign may still be to come in
                # this report. So the Close was first, and nothing may follow it (I2).
                flow.told = True
                if end not in _CLOSED.values():
                    end, within = _CLOSED[flow.inbound], None
                    code, reason = flow.close_code, flow.close_reason
        row = CLOSE_TABLE[end]
        limit = str(session.inbound.limit)
        said = reason or row.browser_reason.replace("{limit}", limit).encode()
        session.ending = ending = Ending(end, code or (row.to_browser or 0), said)
        self._timers.end(session, self._engine.now, within)
        if end in _CLOSED.values():
            return
        if row.to_upstream is None:
            session.inbound.told = True
        else:
            self._frames.send_close(
                session.inbound, row.to_upstream, row.upstream_reason.replace("{limit}", limit).encode()
            )
        if row.to_browser is None:
            session.outbound.told = True
        else:
            self._frames.send_close(session.outbound, ending.code, ending.reason)

    def _end_unheard(self, session: Session) -> None:
        """End a session one of whose peers is gone: what it said last waits for the other, a silent one."""
        gone = session.inbound if session.outbound.told or session.inbound.left else session.outbound
        assert gone.opposite is not None
        given_up = gone.opposite.error in _GIVEN_UP or failure(gone.source) in _GIVEN_UP
        self.end(session.id, (_TIMEOUT if given_up else _ABORTED)[gone.inbound])

    def _answer_for(self, session: Session, flow: Flow) -> None:
        """Answer the Close that the other side has sent, in place of a flow's source, which will not."""
        if session.ending is not None and session.ending.row in _CLOSED.values():
            self._frames.send_close(flow, session.ending.code, session.ending.reason)

    def _settle(self, session: Session) -> None:
        """Shut what is told and heard; finish when both connections have ended."""
        inbound, outbound = session.inbound, session.outbound
        for flow, back in ((outbound, inbound), (inbound, outbound)):
            if not (flow.told and back.heard) or flow.shut:
                continue
            # A server closes first (§7.1.1), so we wait for the upstream to close, which also leaves
            # TIME_WAIT, and the port, on its side; but if it stays silent, we shut it.
            upstream_leaves_first = flow.inbound and session.end in _CLOSED.values() and not back.gone
            if flow.stashed:
                flow.wanted = True
            elif not upstream_leaves_first:
                shut(flow.sink, socket.SHUT_WR)
                flow.shut = True
        if is_over(inbound) and is_over(outbound):
            self._finish(session)

    def _finish(self, session: Session) -> None:
        """Close both connections and report the outcome."""
        del self.sessions[session.id]
        engine = self._engine
        inbound, outbound = session.inbound, session.outbound
        ending = session.ending
        assert ending is not None
        code, reason = ending.code, ending.reason[:255]
        if ending.row not in _CLOSED.values() and (not outbound.closed or outbound.stashed):
            # No Close of ours reached the browser: it was gone, or inside a frame to the last.
            code, reason = 0, b""
        self._release(session)
        duration = max(0.0, engine.now - session.opened_at)
        idle = max(0.0, engine.now - session.active_at)
        self._report(
            Ended(
                session.id, session.kind, int(ending.row), code, duration, idle, inbound.payload,
                outbound.payload, inbound.frames, outbound.frames, reason, session.tag,
            )
        )  # fmt: skip
        _cut_rings(session)

    def _release(self, session: Session) -> None:
        """Close both connections."""
        engine = self._engine
        # All stashes first: dropping one resumes reading its source, even if detached.
        for flow in (session.inbound, session.outbound):
            engine.drop_stash(flow)
        for flow in (session.inbound, session.outbound):
            engine.detach(flow)
        for flow in (session.inbound, session.outbound):
            shut(flow.source, socket.SHUT_RDWR)
            os.close(flow.source)
            flow.source = flow.sink = -1

    # -- time -----------------------------------------------------------------------------

    @property
    def next_at(self) -> float:
        """When `on_time` next has something to do."""
        return self._timers.next_at

    def on_time(self, now: float) -> None:
        """Send heartbeats, end sessions that are idle or whose peer is gone, cut late closing handshakes."""
        for session in self._timers.silent(now):
            self.end(session.id, End.CLIENT_SILENT)
        for session in self._timers.beats(now):
            self._frames.beat(session, now)
        for session in self._timers.idlers(now):
            self.end(session.id, End.IDLE)
        for session in self._timers.overdue(now):
            if session.end is None:
                self._end_unheard(session)
            else:
                self._finish(session)

    def change(self, intervals: Intervals) -> None:
        """Use other intervals from now on, for live sessions too."""
        self._timers.change(intervals, self._engine.now)


def _cut_rings(session: Session) -> None:
    """Let reference counting free a session: flow, opposite and session refer to each other."""
    inbound, outbound = session.inbound, session.outbound
    inbound.opposite = outbound.opposite = None
    inbound.session = outbound.session = _NO_SESSION
    del session.inbound, session.outbound
