"""The hot path in pure Python: receive, walk the frame headers, send.

The compiled twin is `_hot.pyx`; both have this interface and must take the same
actions for any bytes, valid or not (tests/forwarder/test_twins.py).

Why frames are walked at all: a control frame of ours may only go out at a frame
boundary, a frame over the ceiling must be refused at its header, and pings are
answered here. Only *headers* are looked at; payload is never copied into Python
objects, unmasked or decoded.

Rules of this file:

* One ``Flow`` per direction; a flow's sink is written only by this engine or, at a
  boundary, through `Engine.inject` (invariant I1).
* A source is not read while bytes for its sink are stashed (I5). The stash is at
  most one receive window.
* One receive per readiness, so that one session cannot starve the others.
* Sections cited are RFC 6455's.
"""

from __future__ import annotations

import errno
import os
import select
import time
from typing import Any, Final

from bascule.forwarder import signs
from bascule.handover.counters import FRAMES_BASE, ForwarderWord
from bascule.protocol.frames import mask, parse_close_payload

EPOLLIN: Final = select.EPOLLIN
EPOLLOUT: Final = select.EPOLLOUT

_MAX_EVENTS: Final = 256
_PREFIX: Final = signs.PREFIX_BYTES
_INBOUND_WORDS: Final = (FRAMES_BASE, ForwarderWord.PAYLOAD_INBOUND)
_OUTBOUND_WORDS: Final = (FRAMES_BASE + 16, ForwarderWord.PAYLOAD_OUTBOUND)
_STASHED: Final = int(ForwarderWord.STASHED_BYTES)


class Flow:
    """One direction of a session: reads one connection and writes the other.

    Attributes:
        source: Descriptor read; -1 once closed.
        sink: Descriptor written; -1 once closed.
        opposite: The other direction of the session.
        session: The owner; opaque here.
        inbound: Whether frames travel towards the upstream (and so must be masked, §5.1).
        mode: `signs.RELAY`, `DISCARD` or `DEAD`.
        limit: Largest payload of one frame, in bytes.
        rsv_first: Reserved bits allowed on the first frame of a message.
        rsv_continuation: Reserved bits allowed on continuation frames.
        remaining: Payload bytes of the current data frame not yet seen.
        in_message: A fragmented message is unfinished (§5.4). Explicit, since a
            fragment may be empty.
        held: An unfinished header or control frame.
        stash: Bytes received that the sink could not take yet.
        stop: Turn to `DISCARD` at the next frame boundary.
        wanted: Something is waiting to be injected: report `BOUNDARY`.
        reading: The source has not ended; it is read unless bytes are stashed.
        interest: The epoll events the source is registered for; 0 when it is not.
        ping: Payload of the last ping swallowed, unmasked.
        pings: Pings swallowed since the owner last looked.
        close_code: Of the peer's Close frame; 0 for none.
        close_reason: Of the peer's Close frame.
        fault: `signs.FAULT_*`.
        error: Errno of the last `ERROR` or `SINK_ERROR`.
        frames: Data frames seen.
        payload: Payload bytes of data frames whose header was accepted.
        active_at: Monotonic time at which data last moved.
    """

    __slots__ = (
        "active_at",
        "close_code",
        "close_reason",
        "error",
        "fault",
        "frames",
        "held",
        "in_message",
        "inbound",
        "interest",
        "limit",
        "mode",
        "opposite",
        "payload",
        "ping",
        "pings",
        "reading",
        "remaining",
        "rsv_continuation",
        "rsv_first",
        "session",
        "sink",
        "source",
        "stash",
        "stop",
        "wanted",
    )

    def __init__(
        self,
        session: Any,
        source: int,
        sink: int,
        inbound: bool,
        limit: int,
        rsv_first: int,
        rsv_continuation: int,
        now: float,
    ) -> None:
        self.session = session
        self.source = source
        self.sink = sink
        self.opposite: Flow | None = None
        self.inbound = inbound
        self.mode = signs.RELAY
        self.limit = limit
        self.rsv_first = rsv_first
        self.rsv_continuation = rsv_continuation
        self.remaining = 0
        self.in_message = False
        self.held: bytes | None = None
        self.stash: memoryview | None = None
        self.stop = False
        self.wanted = False
        self.reading = True
        self.interest = 0
        self.ping: bytes | None = None
        self.pings = 0
        self.close_code = signs.NO_CLOSE_CODE
        self.close_reason = b""
        self.fault = signs.NO_FAULT
        self.error = 0
        self.frames = 0
        self.payload = 0
        self.active_at = now

    @property
    def at_boundary(self) -> bool:
        """Whether everything written so far ends at a frame boundary, nothing stashed."""
        return self.remaining == 0 and self.stash is None

    @property
    def stashed(self) -> int:
        """Bytes in the stash."""
        return 0 if self.stash is None else len(self.stash)


class Engine:
    """Epoll, the shared receive buffer and everything that happens per message.

    Args:
        window: Most bytes received at once, and so the bound of a stash.
        words: The forwarder's counter block; frames are counted there.
        early: Most bytes that `feed` takes at once, if more than the window.
    """

    name = "pure"

    def __init__(self, window: int, words: memoryview, early: int = 0) -> None:
        self.window = window
        self._epoll = select.epoll()
        self._buffer = bytearray(_PREFIX + max(window, early))
        self._view = memoryview(self._buffer)
        self._into = [self._view[_PREFIX : _PREFIX + window]]
        self._words = words
        self._table: dict[int, Any] = {}
        self.now = time.monotonic()

    def close(self) -> None:
        """Release the epoll descriptor."""
        self._epoll.close()

    # -- registration ---------------------------------------------------------------

    def watch(self, descriptor: int, target: object) -> None:
        """Report a readable descriptor that is not a flow's, as ``(target, EPOLLIN)``."""
        self._table[descriptor] = target
        self._epoll.register(descriptor, EPOLLIN)

    def unwatch(self, descriptor: int) -> None:
        """Stop reporting it; before it is closed, or epoll would keep a dead entry."""
        self._table.pop(descriptor, None)
        self._epoll.unregister(descriptor)

    def attach(self, flow: Flow) -> None:
        """Start reading a flow's source."""
        self._table[flow.source] = flow
        self._apply(flow)

    def detach(self, flow: Flow) -> None:
        """Forget a flow's source; before it is closed."""
        if flow.interest:
            self._epoll.unregister(flow.source)
            flow.interest = 0
        self._table.pop(flow.source, None)

    def pause(self, flow: Flow) -> None:
        """Stop reading the source for good (it has ended)."""
        flow.reading = False
        self._apply(flow)

    def _apply(self, flow: Flow) -> None:
        """Bring epoll's interest in a flow's source in line with both directions.

        A source without interest leaves epoll altogether: epoll reports a failed
        connection whatever the interest, and would spin on one that may not be read.
        """
        opposite = flow.opposite
        interest = EPOLLIN if flow.reading and flow.stash is None else 0
        if opposite is not None and opposite.stash is not None:
            interest |= EPOLLOUT
        if interest == flow.interest or flow.source < 0:
            return
        if not flow.interest:
            self._epoll.register(flow.source, interest)
        elif interest:
            self._epoll.modify(flow.source, interest)
        else:
            self._epoll.unregister(flow.source)
        flow.interest = interest

    # -- the loop -------------------------------------------------------------------

    def turn(self, deadline: float) -> list[tuple[Any, int]]:
        """Relay until something needs the owner or the deadline has passed.

        Args:
            deadline: Monotonic time, in seconds.

        Returns:
            Flows with their signs, and watched targets; empty when only the deadline
            passed or a signal came in. `now` is the time of the last wake-up.
        """
        table = self._table
        poll = self._epoll.poll
        report: list[tuple[Any, int]] = []
        while True:
            timeout = deadline - time.monotonic()
            events = poll(timeout if timeout > 0 else 0, _MAX_EVENTS)
            self.now = time.monotonic()
            for descriptor, event in events:
                target = table.get(descriptor)
                if type(target) is Flow:
                    if event == EPOLLIN:
                        found = self._advance(target)
                        if found:
                            report.append((target, found))
                    else:
                        self._unusual(target, event, report)
                elif target is not None:
                    report.append((target, event))
            if report or not events or self.now >= deadline:
                return report

    def _unusual(self, flow: Flow, event: int, report: list[tuple[Any, int]]) -> None:
        """Handle anything but *readable and nothing else* on a flow's source."""
        if event & EPOLLOUT and flow.opposite is not None:
            found = self.flush(flow.opposite)
            if found:
                report.append((flow.opposite, found))
        if event & ~EPOLLOUT and flow.reading and flow.stash is None:
            found = self._advance(flow)
            if found:
                report.append((flow, found))

    def _advance(self, flow: Flow) -> int:
        """Receive once, walk, send; return signs, 0 in the ordinary case."""
        start = _PREFIX
        held = flow.held
        try:
            size = os.readv(flow.source, self._into)
        except BlockingIOError:
            return 0
        except OSError as error:
            flow.error = error.errno or errno.EIO
            return signs.ERROR
        if not size:
            return signs.EOF
        if held is not None:
            start -= len(held)
            self._buffer[start:_PREFIX] = held
            flow.held = None
        return self._process(flow, start, _PREFIX + size)

    def feed(self, flow: Flow, data: bytes) -> int:
        """Account for bytes that the gateway had already read, as if just received.

        Args:
            flow: A flow with an empty stash.
            data: At most ``early`` bytes.
        """
        start = _PREFIX
        if flow.held is not None:
            start -= len(flow.held)
            self._buffer[start:_PREFIX] = flow.held
            flow.held = None
        self._buffer[_PREFIX : _PREFIX + len(data)] = data
        return self._process(flow, start, _PREFIX + len(data))

    def _process(self, flow: Flow, start: int, end: int) -> int:
        found = 0
        remaining = flow.remaining
        if remaining >= end - start and flow.mode == signs.RELAY:
            # The common case of a large frame: nothing but payload.
            flow.remaining = remaining - (end - start)
            flow.active_at = self.now
            if flow.stop and not flow.remaining:
                flow.mode = signs.DISCARD
        elif flow.mode == signs.DEAD:
            return 0
        else:
            start, end, found = self.walk(flow, start, end)
        if start != end:
            found |= self._send(flow, start, end)
        if flow.wanted and flow.remaining == 0 and flow.stash is None:
            found |= signs.BOUNDARY
        return found

    def _send(self, flow: Flow, start: int, end: int) -> int:
        """Write to the sink at once; stash what it does not take."""
        try:
            sent = os.write(flow.sink, self._view[start:end])
        except BlockingIOError:
            sent = 0
        except OSError as error:
            flow.error = error.errno or errno.EIO
            return signs.SINK_ERROR
        if sent != end - start:
            self._stash(flow, bytes(self._view[start + sent : end]))
        return 0

    def _stash(self, flow: Flow, data: bytes) -> None:
        flow.stash = memoryview(data)
        self._words[_STASHED] += len(data)
        self._apply(flow)
        if flow.opposite is not None:
            self._apply(flow.opposite)

    def flush(self, flow: Flow) -> int:
        """Write the stash; when it is gone, read the source again.

        Returns:
            `BOUNDARY` when something was waiting for the stash to go, `SINK_ERROR`, or 0.
        """
        stash = flow.stash
        if stash is None:
            return 0
        try:
            sent = os.write(flow.sink, stash)
        except BlockingIOError:
            return 0
        except OSError as error:
            flow.error = error.errno or errno.EIO
            self.drop_stash(flow)
            return signs.SINK_ERROR
        self._words[_STASHED] -= sent
        if sent < len(stash):
            flow.stash = stash[sent:]
            return 0
        flow.stash = None
        self._apply(flow)
        if flow.opposite is not None:
            self._apply(flow.opposite)
        return signs.BOUNDARY if flow.wanted else 0

    def drop_stash(self, flow: Flow) -> None:
        """Throw the stash away: its sink is gone."""
        if flow.stash is not None:
            self._words[_STASHED] -= len(flow.stash)
            flow.stash = None
            self._apply(flow)
            if flow.opposite is not None:
                self._apply(flow.opposite)

    def inject(self, flow: Flow, frame: bytes) -> int:
        """Write a control frame of ours. Only at a boundary (I1): check `at_boundary` first.

        Returns:
            `SINK_ERROR` or 0; what the sink does not take is stashed.
        """
        size = len(frame)
        self._buffer[_PREFIX : _PREFIX + size] = frame
        return self._send(flow, _PREFIX, _PREFIX + size)

    # -- the header walk --------------------------------------------------------------

    def walk(self, flow: Flow, start: int, end: int) -> tuple[int, int, int]:
        """Walk the frames in ``buffer[start:end]``.

        Returns:
            ``(out_start, out_end, signs)``: the bytes to forward, moved together where a
            ping was cut out. Nothing of an unfinished header, of an unfinished control
            frame, of a faulty frame or of anything behind a Close is among them.
        """
        buffer = self._buffer
        words = self._words
        frames_word, payload_word = _INBOUND_WORDS if flow.inbound else _OUTBOUND_WORDS
        must_mask = 0x80 if flow.inbound else 0
        position = start
        out = start  # first byte to forward
        written = start  # end of what has been moved into place
        run = start  # first byte of the verbatim run not yet accounted for
        found = 0
        remaining = flow.remaining
        while True:
            if remaining:
                step = min(remaining, end - position)
                position += step
                remaining -= step
                flow.active_at = self.now
                if remaining:
                    break
            if flow.stop and flow.mode == signs.RELAY:
                # Everything up to here is forwarded; from here on we only look.
                written = self._join(written, run, position)
                flow.mode = signs.DISCARD
                flow.remaining = 0
                if position < end:
                    found |= self.walk(flow, position, end)[2]
                return out, written, found
            available = end - position
            if available < 2:
                break
            first = buffer[position]
            second = buffer[position + 1]
            opcode = first & 0x0F
            length = second & 0x7F
            header = 2
            if opcode & 0x8:
                # §5.5: a control frame is whole, unextended and at most 125 bytes long.
                if second & 0x80 != must_mask or opcode > 0xA or first & 0xF0 != 0x80 or length > 125:
                    flow.fault = signs.FAULT_PROTOCOL
                    found |= signs.FAULT
                    break
                if must_mask:
                    header = 6
                total = header + length
                if available < total:
                    break
                payload = bytes(buffer[position + header : position + total])
                if must_mask:
                    payload = mask(payload, bytes(buffer[position + 2 : position + 6]))
                if opcode == 0x9:
                    words[frames_word + 9] += 1
                    flow.ping = payload
                    flow.pings += 1
                    found |= signs.PING
                    written = self._join(written, run, position)
                    position += total
                    run = position
                    if written == out:
                        out = written = position
                    continue
                if opcode == 0x8:
                    said = parse_close_payload(payload)
                    if said is None:
                        flow.fault = signs.FAULT_PROTOCOL
                        found |= signs.FAULT
                        break
                    words[frames_word + 8] += 1
                    flow.close_code = said.code or signs.NO_CLOSE_CODE
                    flow.close_reason = said.reason
                    found |= signs.CLOSE
                    position += total
                    break
                words[frames_word + 10] += 1
                position += total
                continue
            # §5.2 and §5.4: data frames.
            allowed = flow.rsv_first if opcode else flow.rsv_continuation
            if (
                second & 0x80 != must_mask
                or opcode > 2
                or (opcode == 0) != flow.in_message
                or first & 0x70 & ~allowed
            ):
                flow.fault = signs.FAULT_PROTOCOL
                found |= signs.FAULT
                break
            if length == 126:
                if available < 4:
                    break
                length = buffer[position + 2] << 8 | buffer[position + 3]
                header = 4
                minimal = length > 125
            elif length == 127:
                if available < 10:
                    break
                length = int.from_bytes(buffer[position + 2 : position + 10], "big")
                header = 10
                minimal = 65535 < length < 1 << 63
            else:
                minimal = True
            if not minimal:
                flow.fault = signs.FAULT_PROTOCOL
                found |= signs.FAULT
                break
            if length > flow.limit:
                flow.fault = signs.FAULT_TOO_BIG
                found |= signs.FAULT
                break
            if must_mask:
                header += 4
            if available < header:
                break
            flow.in_message = not first & 0x80
            words[frames_word + opcode] += 1
            flow.frames += 1
            flow.payload += length
            words[payload_word] += length
            flow.active_at = self.now
            position += header
            remaining = length
        flow.remaining = remaining
        if found & (signs.CLOSE | signs.FAULT):
            forward = flow.mode == signs.RELAY
            flow.mode = signs.DEAD
        else:
            forward = flow.mode == signs.RELAY
            if position < end:
                flow.held = bytes(buffer[position:end])
        if not forward:
            return start, start, found
        return out, self._join(written, run, position), found

    def _join(self, written: int, run: int, position: int) -> int:
        """Move the verbatim run up to ``written``; return the new end."""
        if written == run:
            return position
        size = position - run
        self._view[written : written + size] = bytes(self._view[run:position])
        return written + size


def count_allocations(words: memoryview, word: int) -> bool:
    """Add every byte that this process asks its allocators for to a counter word.

    Returns:
        Whether they are counted. Not here: CPython has no such counter, and only the
        extension can hook the allocators, so the word stays as it is.
    """
    return False
