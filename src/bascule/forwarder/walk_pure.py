"""The header walk of the pure hot path: which bytes of the window are forwarded, and what control frames say.

Headers are read in place and payload is passed over. Everything that makes a frame
invalid is decided here, at its header (RFC 6455 §5), before a byte of it moves; pings, and answers
to ours, are cut out, and what is unfinished is held back. It reads and writes no descriptor.

Rules of this file: state between two walks is in the `Flow` alone; sections cited are
RFC 6455's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bascule.forwarder import signs
from bascule.handover.counters import FRAMES_BASE, ForwarderWord
from bascule.protocol.frames import OUR_PING_PAYLOAD, mask, parse_close_payload

if TYPE_CHECKING:
    from bascule.forwarder.flow_pure import Flow

__all__ = ["PREFIX", "HeaderWalk"]

PREFIX: Final = signs.PREFIX_BYTES

_FRAMES_INBOUND: Final = FRAMES_BASE
_FRAMES_OUTBOUND: Final = FRAMES_BASE + 16
_PAYLOAD_INBOUND: Final = int(ForwarderWord.PAYLOAD_INBOUND)
_PAYLOAD_OUTBOUND: Final = int(ForwarderWord.PAYLOAD_OUTBOUND)

_SPARE: Final = 4
"""Bytes behind the window that `HeaderWalk._skip` may read before it finds that they lie beyond the end."""


class HeaderWalk:
    """The window and what walks it.

    Args:
        capacity: Most bytes in the window.
        words: The forwarder's counter block; frames are counted there.

    Attributes:
        now: Monotonic time of the last wake-up, in seconds.
    """

    now: float

    def __init__(self, capacity: int, words: memoryview) -> None:
        self._buffer = bytearray(PREFIX + capacity + _SPARE)
        self._view = memoryview(self._buffer)
        self._words = words
        self._inbound = [0, 0, 0]
        """Not counted in the block yet, browser to upstream: payload bytes, text and binary frames."""
        self._outbound = [0, 0, 0]

    def _count(self) -> None:
        """Count in the block what `_skip` has noted: adding to a list is much cheaper."""
        words = self._words
        for noted, frames, payload in (
            (self._inbound, _FRAMES_INBOUND, _PAYLOAD_INBOUND),
            (self._outbound, _FRAMES_OUTBOUND, _PAYLOAD_OUTBOUND),
        ):
            if noted[1] or noted[2]:
                words[payload] += noted[0]
                words[frames + 1] += noted[1]
                words[frames + 2] += noted[2]
                noted[0] = noted[1] = noted[2] = 0

    def _skip(self, flow: Flow, start: int, end: int) -> int:
        """Pass over whole messages of one kind, in frames of at most 64 KiB, at a frame boundary.

        Counts them and returns where the first frame begins that `walk` must look at, or the
        end. It does the same for these frames as `walk` would, in a quarter of the time.
        """
        buffer = self._buffer
        first = buffer[start]
        if first not in flow.whole:
            return start
        steps = flow.steps
        position = start
        frames = step = extended = 0
        while position < end and buffer[position] == first:
            step = steps[buffer[position + 1]]
            if step <= 0:
                if step == 0:
                    break
                length = 256 * buffer[position + 2] + buffer[position + 3]
                if length < 126:
                    break
                step = length - step
                extended += 1
            position += step
            frames += 1
        if position > end:
            # The last frame is not whole.
            position -= step
            frames -= 1
            if buffer[position + 1] & 0x7F == 126:
                extended -= 1
        if frames:
            flow.frames += frames
            flow.large = False
            flow.active_at = self.now
            if flow.inbound:
                payload = position - start - 6 * frames - 2 * extended
                noted = self._inbound
            else:
                payload = position - start - 2 * (frames + extended)
                noted = self._outbound
            noted[0] += payload
            noted[first & 3] += frames
            flow.payload += payload
        return position

    def walk(self, flow: Flow, start: int, end: int, position: int = 0) -> tuple[int, int, int]:
        """Walk the frames in ``buffer[start:end]``; those up to ``position`` have been passed over.

        Returns:
            ``(out_start, out_end, signs)``: the bytes to forward, moved together where a
            ping, or the answer to one of ours, was cut out. Nothing of an unfinished header, of an
            unfinished control frame, of a faulty frame or of anything behind a Close is among them.
        """
        buffer = self._buffer
        words = self._words
        frames_word = _FRAMES_INBOUND if flow.inbound else _FRAMES_OUTBOUND
        payload_word = _PAYLOAD_INBOUND if flow.inbound else _PAYLOAD_OUTBOUND
        must_mask = 0x80 if flow.inbound else 0
        position = position or start
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
                # Everything up to here is forwarded; from here on frames are only walked.
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
            if first in flow.whole and not flow.in_message:
                after = self._skip(flow, position, end)
                if after != position:
                    position = after
                    continue
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
                said = self._read_control(flow, position, header, total)
                found |= said
                if said & signs.FAULT:
                    break
                if said & (signs.PING | signs.PONG):
                    written = self._join(written, run, position)
                    position += total
                    run = position
                    if written == out:
                        out = written = position
                    continue
                position += total
                if said & signs.CLOSE:
                    break
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
            flow.large = length >= signs.SPLICE_FROM
            words[frames_word + opcode] += 1
            flow.frames += 1
            flow.payload += length
            words[payload_word] += length
            flow.active_at = self.now
            position += header
            remaining = length
        flow.remaining = remaining
        flow.between = not (remaining or flow.in_message) and position == end
        forward = flow.mode == signs.RELAY
        if found & (signs.CLOSE | signs.FAULT):
            flow.mode = signs.DEAD
        elif position < end:
            flow.held = bytes(buffer[position:end])
        if not forward:
            return start, start, found
        return out, self._join(written, run, position), found

    def _read_control(self, flow: Flow, position: int, header: int, total: int) -> int:
        """Read a control frame that is whole, and count it.

        Returns:
            `CLOSE` or `FAULT`, behind which nothing is forwarded; `PING` or `PONG`, which are not forwarded
            themselves; otherwise 0.
        """
        frame = bytes(self._buffer[position : position + total])
        opcode = frame[0] & 0x0F
        frames = _FRAMES_INBOUND if flow.inbound else _FRAMES_OUTBOUND
        if opcode == 0xA and not flow.inbound:
            self._words[frames + opcode] += 1
            return 0
        payload = frame[header:]
        if flow.inbound:
            payload = mask(payload, frame[2:6])
        if opcode == 0x8:
            said = parse_close_payload(payload)
            if said is None:
                flow.fault = signs.FAULT_PROTOCOL
                return signs.FAULT
            flow.close_code = said.code or signs.NO_CLOSE_CODE
            flow.close_reason = said.reason
        self._words[frames + opcode] += 1
        if opcode == 0x8:
            return signs.CLOSE
        if opcode == 0xA:
            return signs.PONG if payload == OUR_PING_PAYLOAD else 0
        if flow.pings is None:
            flow.pings = []
        elif len(flow.pings) == signs.MAX_PINGS:
            del flow.pings[0]
        flow.pings.append(payload)
        return signs.PING

    def _join(self, written: int, run: int, position: int) -> int:
        """Move the verbatim run up to ``written``; return the new end."""
        if written == run:
            return position
        size = position - run
        self._view[written : written + size] = bytes(self._view[run:position])
        return written + size
