"""Control frames of ours: Closes, answers to pings, and heartbeats.

Rules of this file:

* A control frame goes out at a frame boundary or waits for one (I1); nothing follows
  a Close in its direction (I2).
* What waits cannot pile up (`Pending`).
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from bascule.forwarder import signs
from bascule.forwarder.ends import give_up, has_closed
from bascule.forwarder.pending import Pending
from bascule.handover.counters import ForwarderWord, close_code_label, close_code_word
from bascule.protocol.frames import HEARTBEAT, OUR_PING, close_frame, control_frame
from bascule.vocabulary import Opcode

if TYPE_CHECKING:
    from collections.abc import Callable

    from bascule.forwarder.hot import Engine, Flow
    from bascule.forwarder.session import Session
    from bascule.forwarder.timers import Timers

__all__ = ["ControlFrames"]


class ControlFrames:
    """Sends them for all sessions of one forwarder.

    Args:
        engine: Writes them.
        words: The forwarder's counter block.
        timers: Await the answers to our pings.
        on_failure: Called with a flow whose sink takes no more bytes, as such a frame has shown.
    """

    def __init__(
        self, engine: Engine, words: memoryview, timers: Timers, on_failure: Callable[[Flow], None]
    ) -> None:
        self._engine = engine
        self._words = words
        self._timers = timers
        self._on_failure = on_failure

    def send_close(self, flow: Flow, code: int, reason: bytes) -> None:
        """Send the sink of a flow a Close of ours, now or at the next boundary."""
        if flow.told:
            return
        flow.stop = True
        if flow.remaining and flow.gone:
            give_up(flow)
            return
        pending = _pending(flow)
        pending.close = close_frame(code or None, reason, _key(flow))
        if flow.remaining == 0 and flow.mode == signs.RELAY:
            flow.mode = signs.DISCARD
        if flow.at_boundary:
            self.send_waiting(flow)
        else:
            flow.wanted = True

    def answer_pings(self, flow: Flow) -> None:
        """Answer the latest pings of a flow's source, in order (§5.5.3)."""
        payloads = flow.pings
        flow.pings = None
        if payloads is None:
            return
        back = flow.opposite
        assert back is not None
        if back.told or (has_closed(back) and not back.stop):
            return  # the other side's Close has passed, perhaps in this turn: its sign may be still to come
        word = ForwarderWord.PINGS_ANSWERED_BROWSER if flow.inbound else ForwarderWord.PINGS_ANSWERED_UPSTREAM
        self._words[word] += len(payloads)
        pongs = [control_frame(Opcode.PONG, payload, _key(back)) for payload in payloads]
        if back.at_boundary and not back.wanted:
            if self._engine.inject(back, b"".join(pongs)):
                self._on_failure(back)
            return
        pending = _pending(back)
        pending.pongs = (pending.pongs + pongs)[-signs.MAX_PINGS :]
        back.wanted = True

    def send_waiting(self, flow: Flow) -> None:
        """Send what waited for this boundary; a Close goes last and ends the direction."""
        if flow.remaining and flow.mode == signs.RELAY:
            return  # The stash is gone, but the frame did not end with it.
        flow.wanted = False
        pending, flow.pending = flow.pending, None
        if pending is None or flow.told or flow.sink < 0:
            return
        if pending.close:
            flow.told = flow.closed = True
            flow.session.ending.told_at = self._engine.now
            if not flow.inbound:
                code = int.from_bytes(pending.close[2:4], "big") if len(pending.close) > 2 else None
                self._words[close_code_word("proxy", close_code_label(code))] += 1
        if pending.heartbeat:
            self._note_beat(flow.session, pending.heartbeat, self._engine.now)
        if self._engine.inject(flow, b"".join(pending.pongs) + pending.heartbeat + pending.close):
            self._on_failure(flow)

    def beat(self, session: Session, now: float) -> None:
        """Send one heartbeat, at a boundary: the contract's unsolicited, empty pong, or a ping."""
        flow = session.outbound
        if flow.told:
            return
        heartbeat = OUR_PING if self._timers.asks else HEARTBEAT
        if flow.at_boundary and not flow.wanted:
            self._note_beat(session, heartbeat, now)
            if self._engine.inject(flow, heartbeat):
                self._on_failure(flow)
        elif not flow.stashed:
            # In the middle of a frame the heartbeat waits for the frame's end. With bytes stashed
            # none is sent: there is traffic already, and a stalled browser must not collect pongs.
            _pending(flow).heartbeat = heartbeat
            flow.wanted = True

    def _note_beat(self, session: Session, heartbeat: bytes, now: float) -> None:
        """Count a heartbeat that goes out now, and await its answer if it is a ping."""
        self._words[ForwarderWord.HEARTBEATS] += 1
        if heartbeat is OUR_PING:
            self._timers.ask(session, now)


def _pending(flow: Flow) -> Pending:
    """Return what waits for the next boundary of a flow."""
    if flow.pending is None:
        flow.pending = Pending()
    return flow.pending


def _key(flow: Flow) -> bytes | None:
    """Return a masking key for a frame of ours, where one is needed: towards the upstream (§5.3)."""
    return secrets.token_bytes(4) if flow.inbound else None
