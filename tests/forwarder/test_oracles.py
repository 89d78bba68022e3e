"""Differential: what the walk accepts and refuses, against two implementations of RFC 6455 that are not ours.

The same stream of frames, valid or not, cut anywhere, is read by wsproto or websockets directly, and what
comes out of our walk by another reader of the same kind. Both must see the same: a peer behind us gets every
message, byte for byte, as without us, up to the frame that is refused.

Where we differ on purpose, from one of them or from both:

* UTF-8, in text messages and in the reason of a Close, is not checked: it is the end points' business. Both
  readers refuse it with 1007, behind us as without us.
* Pings do not travel on: we answer them, the latest sixteen of a burst.
* Close 1014 passes, which is registered; wsproto does not know it.
* A Close may stand between the fragments of a message, as every control frame (§5.4); websockets refuses it.
* A length that is not minimal, or has the highest bit set, is refused (§5.2); websockets takes it.
* A frame is refused at its header. The readers may wait for its payload, so it is given to them.

Not compared: reserved bits that an extension allows, since the readers have none, and `incomingBufferBytes`.
"""

from __future__ import annotations

import contextlib
import os
import socket
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, Protocol

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from websockets.frames import Frame as TheirFrame
from websockets.frames import Opcode as TheirOpcode
from websockets.protocol import CLIENT, OPEN, SERVER
from websockets.protocol import Protocol as WebSocketsProtocol
from wsproto.frame_protocol import FrameProtocol, ParseFailed
from wsproto.frame_protocol import Opcode as WsprotoOpcode

from bascule.forwarder import signs
from bascule.handover.counters import BLOCK_WORDS, FRAMES_BASE
from bascule.protocol.frames import OUR_PING_PAYLOAD
from tests.support.feeding import chopped
from tests.support.frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    KEY,
    PING,
    PONG,
    TEXT,
    close,
    frame,
    header,
)
from tests.support.relaying import BUILDS, build_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

WINDOW: Final = 4096
LARGEST: Final = (1 << 63) - 1
"""The ceiling of a frame here: no test comes near it."""
BAD_UTF8: Final = 1007
PROTOCOL_ERROR: Final = 1002
MOST_PADDING: Final = 1 << 18
"""Bytes of a refused frame that a reader is still given, so that it may refuse it, too."""


@dataclass
class Seen:
    """What a reader made of a stream.

    Attributes:
        messages: Opcode and payload of each message, pong and Close; the last may be the beginning of one.
        pings: The payload of each ping.
        failure: The close code with which it refused the stream.
    """

    messages: list[tuple[int, bytes]] = field(default_factory=list)
    pings: list[bytes] = field(default_factory=list)
    failure: int | None = None

    @property
    def is_over(self) -> bool:
        """Whether nothing more is read."""
        return self.failure is not None or (bool(self.messages) and self.messages[-1][0] == CLOSE)


class Reader(Protocol):
    """A reader of frames: feed it, then look at what it has seen."""

    seen: Seen

    def feed(self, data: bytes) -> None:
        """Read on."""


class Wsproto:
    """wsproto, as the end point that gets frames of one direction."""

    def __init__(self, inbound: bool) -> None:
        self.seen = Seen()
        self._protocol = FrameProtocol(client=not inbound, extensions=[])
        self._begun = False

    def feed(self, data: bytes) -> None:
        if self.seen.is_over:
            return
        self._protocol.receive_bytes(data)
        try:
            for found in self._protocol.received_frames():
                self._take(found.opcode, found.payload, found.message_finished)
        except ParseFailed as error:
            self.seen.failure = int(error.code)

    def _take(self, opcode: WsprotoOpcode, payload: Any, finished: bool) -> None:
        if opcode is WsprotoOpcode.CLOSE:
            code, reason = payload
            said = b"" if code == 1005 else int(code).to_bytes(2, "big") + reason.encode()
            self.seen.messages.append((CLOSE, said))
            return
        data = payload.encode() if isinstance(payload, str) else bytes(payload)
        if opcode is WsprotoOpcode.PING:
            self.seen.pings.append(data)
        elif opcode is WsprotoOpcode.PONG:
            self.seen.messages.append((PONG, data))
        elif self._begun:
            # Pongs may stand between the parts of a message.
            place = max(i for i, (kind, _) in enumerate(self.seen.messages) if kind in (TEXT, BINARY))
            self.seen.messages[place] = (int(opcode), self.seen.messages[place][1] + data)
            self._begun = not finished
        else:
            self.seen.messages.append((int(opcode), data))
            self._begun = not finished


class WebSockets:
    """websockets without its I/O, in the same place. It gives frames, and each only when it is whole."""

    def __init__(self, inbound: bool) -> None:
        self.seen = Seen()
        self._protocol = WebSocketsProtocol(SERVER if inbound else CLIENT, state=OPEN, max_size=None)

    def feed(self, data: bytes) -> None:
        if self.seen.is_over:
            return
        self._protocol.receive_data(data)
        for found in self._protocol.events_received():
            assert isinstance(found, TheirFrame)
            payload = bytes(found.data)
            if found.opcode is TheirOpcode.PING:
                self.seen.pings.append(payload)
            else:
                self.seen.messages.append((int(found.opcode), payload))
        if self._protocol.parser_exc is not None:
            self.seen.failure = self._protocol.close_sent.code if self._protocol.close_sent else -1


READERS: Final[dict[str, Callable[[bool], Reader]]] = {"wsproto": Wsproto, "websockets": WebSockets}


@dataclass
class Walked:
    """What our walk made of a stream.

    Attributes:
        parts: What it forwarded, as it did.
        pings: The payload of each ping that we answer.
        faulty: Whether it refused the stream.
        accepted: How many frames it took.
        whole: Whether no message has begun and not ended.
    """

    parts: list[bytes]
    pings: list[bytes]
    faulty: bool
    accepted: int
    whole: bool


def walk(build: Any, inbound: bool, pieces: list[bytes]) -> Walked:
    """Let one build walk a stream."""
    words = memoryview(bytearray(BLOCK_WORDS * 8)).cast("Q")
    engine = build.Engine(WINDOW, words)
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    parts: list[bytes] = []
    pings: list[bytes] = []
    try:
        flow = build.Flow(None, -1, ours.fileno(), inbound, LARGEST, 0, 0, 0.0)
        for piece in pieces:
            engine.feed(flow, piece)
            with contextlib.suppress(BlockingIOError):
                parts.append(os.read(theirs.fileno(), 1 << 20))
            if flow.pings:
                pings += flow.pings
                flow.pings = None
        base = FRAMES_BASE + (0 if inbound else 16)
        return Walked(
            parts,
            pings,
            faulty=flow.fault == signs.FAULT_PROTOCOL,
            accepted=sum(words[base : base + 16]),
            whole=not flow.in_message,
        )
    finally:
        ours.close()
        theirs.close()
        engine.close()


def shapes(stream: bytes) -> Iterator[tuple[int, int, int, bool]]:
    """Yield where each frame begins, its size, its announced length, and whether that is written as it must.

    A header that is not whole is read as if zeros followed.
    """
    at = 0
    while at < len(stream):
        head = stream[at : at + 14].ljust(14, b"\0")
        length, size, proper = head[1] & 0x7F, 2, True
        if length == 126:
            length, size = int.from_bytes(head[2:4], "big"), 4
            proper = length > 125
        elif length == 127:
            length, size = int.from_bytes(head[2:10], "big"), 10
            proper = 65535 < length < 1 << 63
        size += 4 if head[1] & 0x80 else 0
        yield at, size + length, length, proper
        at += size + length


def expected(seen: Seen, inbound: bool) -> list[tuple[int, bytes]]:
    """Return what a peer behind us sees of what it would see without us: not the answers to pings of ours."""
    return [one for one in seen.messages if not (inbound and one == (PONG, OUR_PING_PAYLOAD))]


def check(build: Any, reader: str, inbound: bool, pieces: list[bytes]) -> str:
    """Compare the walk of one build with one reader; returns the verdict on which they agree, or differ."""
    stream = b"".join(pieces)
    direct, behind = READERS[reader](inbound), READERS[reader](inbound)
    for piece in pieces:
        direct.feed(piece)
    walked = walk(build, inbound, pieces)
    for part in walked.parts:
        behind.feed(part)
    assert behind.seen.pings == []
    same = behind.seen.messages == expected(direct.seen, inbound)
    awaited = False
    if walked.faulty:
        at, size, _, proper = [*shapes(stream)][walked.accepted]
        if reader == "websockets" and not proper:
            assert behind.seen.messages == expected(direct.seen, inbound)[: len(behind.seen.messages)]
            return "refused for its length"
        missing = at + size - len(stream)
        awaited = missing > MOST_PADDING
        if missing > 0 and not awaited:
            direct.feed(bytes(missing))
    assert same
    if direct.seen.failure == BAD_UTF8:
        assert behind.seen.failure == BAD_UTF8 or walked.faulty
        return "not UTF-8"
    assert walked.pings == direct.seen.pings
    if walked.faulty:
        assert behind.seen.failure is None
        assert direct.seen.failure == PROTOCOL_ERROR or awaited
        return "refused"
    assert behind.seen.failure == direct.seen.failure
    if direct.seen.failure is None:
        return "accepted"
    said = walked_close(stream, walked.accepted)
    if reader == "wsproto":
        assert said[:2] == (1014).to_bytes(2, "big")
        return "Close 1014"
    assert not walked.whole
    return "Close in a message"


def walked_close(stream: bytes, accepted: int) -> bytes:
    """Return the payload of the last frame that was accepted, which must be a Close."""
    at, size, length, _ = [*shapes(stream)][accepted - 1]
    assert stream[at] == 0x80 | CLOSE
    payload = stream[at + size - length : at + size]
    key = stream[at + 2 : at + 6] if stream[at + 1] & 0x80 else bytes(4)
    return bytes(byte ^ key[place % 4] for place, byte in enumerate(payload))


TEXTS: Final = st.sampled_from(
    ["", "a", "hello", "J\u00fcrgen", "\U0001f600" * 3, "x" * 125, "y" * 126, "z" * 5000]
)
CODES: Final = st.sampled_from([None, 1000, 1001, 1003, 1011, 1012, 1014, 3000, 4999])
BAD_CODES: Final = st.sampled_from([0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535])


@st.composite
def sound(draw: st.DrawFn, inbound: bool) -> list[bytes]:
    """Draw the frames of a valid stream."""
    out: list[bytes] = []

    def key() -> bytes | None:
        return draw(st.sampled_from([KEY, b"\0\0\0\0", b"\xff\x80\x01\x7f"])) if inbound else None

    def controls() -> None:
        kinds = draw(st.lists(st.sampled_from([PING, PONG]), max_size=2))
        out.extend(frame(opcode, draw(st.binary(max_size=125)), key=key()) for opcode in kinds)

    for _ in range(draw(st.integers(0, 4))):
        controls()
        opcode = draw(st.sampled_from([TEXT, BINARY]))
        whole = draw(TEXTS).encode() if opcode == TEXT else draw(st.binary(max_size=300))
        cuts = sorted(draw(st.lists(st.integers(0, len(whole)), max_size=3)))
        edges = [0, *cuts, len(whole)]
        for place, (begin, end) in enumerate(pairwise(edges)):
            last = place == len(cuts)
            out.append(frame(opcode if not place else CONTINUATION, whole[begin:end], fin=last, key=key()))
            if not last:
                controls()
    if draw(st.booleans()):
        code = draw(CODES)
        out.append(close(code, b"" if code is None else draw(TEXTS).encode()[:4], key=key()))
        controls()
    return out


@st.composite
def odd_frames(draw: st.DrawFn, inbound: bool) -> bytes:
    """Draw one frame that is probably wrong, in any of the ways that a frame can be."""
    masked = inbound if draw(st.integers(0, 9)) else not inbound
    key = KEY if masked else None
    kind = draw(st.sampled_from(["any", "close", "text", "length"]))
    if kind == "close":
        said = draw(BAD_CODES | CODES)
        reason = draw(st.sampled_from([b"", b"why", b"\xff", b"\xc3"]))
        odd = draw(st.binary(max_size=1))
        return frame(CLOSE, odd, key=key) if said is None else close(said, reason, key=key)
    if kind == "text":
        return frame(TEXT, draw(st.binary(min_size=1, max_size=9)), key=key)
    fin, rsv = draw(st.booleans()), draw(st.sampled_from([0, 0, 0, 0x40, 0x20, 0x10, 0x70]))
    if kind == "length":
        form = draw(st.sampled_from([16, 64]))
        length = draw(
            st.sampled_from([0, 1, 125, 126, 65535] if form == 16 else [0, 65535, 65536, 1 << 62, 1 << 63])
        )
        return header(draw(st.sampled_from([TEXT, BINARY, CONTINUATION, PING])), length, form=form, key=key)
    return frame(draw(st.integers(0, 15)), draw(st.binary(max_size=130))[:125], fin=fin, rsv=rsv, key=key)


@st.composite
def cases(draw: st.DrawFn) -> tuple[bool, list[bytes]]:
    """Draw a direction, and a stream in pieces: valid, with frames that do not belong there, or damaged."""
    inbound = draw(st.booleans())
    frames: list[bytes] = draw(sound(inbound))
    for _ in range(draw(st.integers(0, 2))):
        frames.insert(draw(st.integers(0, len(frames))), draw(odd_frames(inbound)))
    stream = bytearray(b"".join(frames))
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
        if stream:
            place = draw(st.integers(0, len(stream) - 1))
            match draw(st.sampled_from(["flip", "drop", "repeat", "end"])):
                case "flip":
                    stream[place] ^= 1 << draw(st.integers(0, 7))
                case "drop":
                    del stream[place]
                case "repeat":
                    stream.insert(place, stream[place])
                case _:
                    del stream[place:]
    pieces = draw(chopped(bytes(stream)))
    return inbound, [part for piece in pieces for part in windows(piece)]


def windows(data: bytes) -> list[bytes]:
    """Cut what does not fit the engine's window."""
    return [data[at : at + WINDOW] for at in range(0, len(data), WINDOW)]


@pytest.mark.parametrize("build", BUILDS)
@given(case=cases())
@settings(max_examples=200)
def test_a_peer_behind_us_sees_what_it_would_see_without_us(
    build: str, case: tuple[bool, list[bytes]]
) -> None:
    for reader in READERS:
        event(f"{reader}: {check(build_of(build), reader, *case)}")


@pytest.mark.parametrize("build", BUILDS)
@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("inbound", [True, False], ids=["inbound", "outbound"])
def test_every_first_byte_has_one_verdict(build: str, reader: str, inbound: bool) -> None:
    begun = frame(BINARY, b"begun", fin=False, key=KEY if inbound else None)
    verdicts = {
        check(build_of(build), reader, inbound, [before + bytes([first]) + rest])
        for first in range(256)
        for rest in (b"\0", b"\x80" + KEY)
        for before in (b"", begun)
    }
    assert verdicts - {"Close in a message"} == {"accepted", "refused"}


@pytest.mark.parametrize("build", BUILDS)
@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("inbound", [True, False], ids=["inbound", "outbound"])
def test_a_pong_like_the_answer_to_a_ping_of_ours_is_missed_only_where_it_may_be_one(
    build: str, reader: str, inbound: bool
) -> None:
    key = KEY if inbound else None
    pieces = [frame(PONG, OUR_PING_PAYLOAD, key=key) + frame(TEXT, b"", key=key)]
    assert check(build_of(build), reader, inbound, pieces) == "accepted"


@pytest.mark.parametrize("build", BUILDS)
@pytest.mark.parametrize("reader", READERS)
def test_every_close_code_has_one_verdict(build: str, reader: str) -> None:
    codes = [*range(990, 1030), *range(2990, 3010), *range(4990, 5010), 0, 1, 65535]
    verdicts = {code: check(build_of(build), reader, False, [close(code, b"why")]) for code in codes}
    allowed = {*range(1000, 1004), *range(1007, 1015), *range(3000, 3010), *range(4990, 5000)}
    assert {code for code, verdict in verdicts.items() if verdict != "refused"} == allowed


@pytest.mark.parametrize("build", BUILDS)
@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("length", [0, 1, 125, 126, 65535, 65536, 1 << 62, 1 << 63, (1 << 64) - 1])
def test_every_way_to_write_a_length_has_one_verdict(build: str, reader: str, length: int) -> None:
    for form in (7, 16, 64):
        if length < {7: 126, 16: 1 << 16, 64: 1 << 64}[form]:
            head = header(BINARY, length, form=form)
            behind = frame(PONG, b"the next") if length <= 65536 else b""
            stream = head + bytes(min(length, 65536)) + behind
            check(build_of(build), reader, False, windows(stream))
