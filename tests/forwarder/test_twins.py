"""Differential: the pure and the compiled hot path take the same actions for any bytes, valid or not.

Both are fed the same pieces over the same kind of connection, in the same modes, and after every step
compared: bytes sent, signs, state of the flow, counters.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from bascule.forwarder import hot_pure, signs
from bascule.handover.counters import BLOCK_WORDS
from tests.support.farends import unix_pair
from tests.support.frames import CLOSE, CONTINUATION, PING, PONG, TEXT, close, frame
from tests.support.framestreams import streams
from tests.support.relaying import build_of

WINDOW = 4096
EARLY = 8192

STATE = (
    "inbound", "mode", "limit", "remaining", "in_message", "large", "held", "stashed", "stop", "wanted",
    "reading", "left", "interest", "pings", "close_code", "close_reason", "fault", "error", "frames",
    "payload", "at_boundary",
)  # fmt: skip


class Twin:
    """One build with one session: two flows between two connections whose far ends we hold."""

    def __init__(self, build: Any, *, limit: int, rsv: tuple[int, int], send: int) -> None:
        self.words = memoryview(bytearray(BLOCK_WORDS * 8)).cast("Q")
        self.engine = build.Engine(WINDOW, self.words, EARLY)
        self.ours: list[socket.socket] = []
        self.far: list[socket.socket] = []
        for _ in range(2):
            ours, far = unix_pair(send)
            self.ours.append(ours)
            self.far.append(far)
        browser, upstream = (end.fileno() for end in self.ours)
        self.inbound = build.Flow(None, browser, upstream, True, limit, *rsv, 0.0)
        self.outbound = build.Flow(None, upstream, browser, False, limit, *rsv, 0.0)
        self.inbound.opposite, self.outbound.opposite = self.outbound, self.inbound
        self.flows = (self.inbound, self.outbound)
        for flow in self.flows:
            self.engine.attach(flow)

    def turn(self) -> list[tuple[bool, int]]:
        """Turn once without waiting; return the signs by direction, in an order of their own."""
        return sorted((flow.inbound, found) for flow, found in self.engine.turn(0.0))

    def take(self, side: int, most: int) -> bytes:
        """Read what one side was sent."""
        with contextlib.suppress(BlockingIOError):
            return self.far[side].recv(most)
        return b""

    def state(self) -> list[dict[str, Any]]:
        """Return everything observable."""
        return [
            {
                **{name: getattr(flow, name) for name in STATE},
                "stash": None if flow.stash is None else bytes(flow.stash),
            }
            for flow in self.flows
        ]

    def close(self) -> None:
        self.engine.close()
        for end in (*self.ours, *self.far):
            end.close()


class Twins:
    """Both builds, in step."""

    def __init__(self, **options: Any) -> None:
        compiled = build_of("compiled")  # before anything is opened: it may skip the test
        self.both = (Twin(hot_pure, **options), Twin(compiled, **options))

    def same(self, act: Any) -> Any:
        """Do the same with both, and hold them to the same outcome."""
        pure, compiled = (act(twin) for twin in self.both)
        assert pure == compiled
        pure_twin, compiled_twin = self.both
        assert pure_twin.state() == compiled_twin.state()
        assert pure_twin.words.tolist() == compiled_twin.words.tolist()
        return pure

    def close(self) -> None:
        for twin in self.both:
            twin.close()


@contextlib.contextmanager
def twins(**options: Any) -> Any:
    made = Twins(**options)
    try:
        yield made
    finally:
        made.close()


# -- what they are fed ----------------------------------------------------------------------------


@st.composite
def _frames(draw: st.DrawFn, masked: bool) -> bytes:
    """One frame, often valid, sometimes not."""
    key = draw(st.binary(min_size=4, max_size=4)) if masked ^ draw(_rarely) else None
    opcode = draw(st.sampled_from([TEXT, TEXT, CONTINUATION, PING, PONG, CLOSE]) | st.integers(0, 15))
    size = draw(st.integers(0, 10) | st.sampled_from([125, 126, 127, 700, 65535, 65536]))
    payload = draw(st.binary(max_size=4)) + bytes(size)
    if opcode == CLOSE and draw(st.booleans()):
        return close(draw(st.sampled_from([1000, 1005, 3000, 999])), b"r" * draw(st.integers(0, 124)), key)
    form = draw(st.sampled_from([None, None, None, None, 16, 64]))
    if form == 16 and len(payload) > 65535:
        form = 64
    rsv = draw(st.sampled_from([0, 0, 0, 0x40, 0x10]))
    return frame(opcode, payload, fin=not draw(_rarely), rsv=rsv, key=key, form=form)


_rarely = st.integers(0, 9).map(lambda number: number == 0)


def _bytes(masked: bool) -> st.SearchStrategy[bytes]:
    return st.one_of(
        streams(masked=masked, ends=False),
        streams(masked=masked, ends=True),
        st.lists(_frames(masked), max_size=6).map(b"".join),
        st.binary(max_size=40),
    )


_STEPS = ("send", "send", "send", "turn", "turn", "take", "take", "stop", "want", "inject", "pause")


def _step(twins: Twins, data: st.DataObject, queues: list[bytearray]) -> None:
    side = data.draw(st.integers(0, 1), "side")
    what = data.draw(st.sampled_from(_STEPS), "step")

    def flow_of(twin: Twin) -> Any:
        return twin.flows[side]

    match what:
        case "send":
            if not queues[side]:
                queues[side] += data.draw(_bytes(side == 0), "bytes")
            size = data.draw(st.integers(1, 5000), "size")
            piece = bytes(queues[side][:size])
            sent = twins.same(lambda twin: _send(twin.far[side], piece))
            del queues[side][:sent]
            for _, found in twins.same(lambda twin: twin.turn()):
                event(f"sign {found}")
        case "turn":
            twins.same(lambda twin: twin.turn())
        case "take":
            most = data.draw(st.sampled_from([1, 100, 100_000]), "most")
            twins.same(lambda twin: twin.take(side, most))
        case "stop":
            twins.same(lambda twin: setattr(flow_of(twin), "stop", True))
        case "want":
            twins.same(lambda twin: setattr(flow_of(twin), "wanted", True))
        case "inject":
            if flow_of(twins.both[0]).at_boundary:
                twins.same(lambda twin: twin.engine.inject(flow_of(twin), b"\x8a\x03abc"))
        case "pause":
            if data.draw(_rarely):
                twins.same(lambda twin: twin.engine.pause(flow_of(twin)))
        case _:
            raise AssertionError(what)


def _send(far: socket.socket, data: bytes) -> int:
    if not data:
        return 0
    try:
        return far.send(data)
    except (BlockingIOError, BrokenPipeError):
        return 0


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_both_builds_take_the_same_actions(data: st.DataObject) -> None:
    limit = data.draw(st.sampled_from([0, 1, 125, 1000, 65536, 2**31 - 1]), "limit")
    rsv = data.draw(st.sampled_from([(0, 0), (0x40, 0), (0x70, 0x70)]), "rsv")
    send = data.draw(st.sampled_from([0, 4608]), "send buffer")
    with twins(limit=limit, rsv=rsv, send=send) as made:
        queues = [bytearray(), bytearray()]
        for _ in range(data.draw(st.integers(1, 30), "steps")):
            _step(made, data, queues)


@settings(max_examples=150, deadline=None)
@given(data=st.data(), masked=st.booleans(), mode=st.sampled_from([signs.RELAY, signs.DISCARD, signs.DEAD]))
def test_both_builds_walk_early_bytes_alike(data: st.DataObject, masked: bool, mode: int) -> None:
    stream = data.draw(_bytes(masked), "bytes")[:EARLY]
    split = data.draw(st.integers(0, len(stream)), "split")
    stop = data.draw(st.booleans(), "stop")
    with twins(limit=1000, rsv=(0x40, 0), send=0) as made:
        for piece in (stream[:split], stream[split:]):

            def feed(twin: Twin, piece: bytes = piece) -> int:
                flow = twin.inbound if masked else twin.outbound
                flow.mode = max(flow.mode, mode)
                flow.stop = flow.stop or stop
                return int(twin.engine.feed(flow, piece))

            made.same(feed)
            made.same(lambda twin: twin.take(1 if masked else 0, 100_000))


# -- what is easier said than drawn ---------------------------------------------------------------


@pytest.mark.parametrize("side", [0, 1])
def test_both_builds_report_a_sink_that_is_gone(side: int) -> None:
    with twins(limit=1000, rsv=(0, 0), send=0) as made:
        made.same(lambda twin: twin.far[1 - side].close())
        key = b"abcd" if side == 0 else None
        made.same(lambda twin: _send(twin.far[side], frame(TEXT, b"x", key=key)))
        found = made.same(lambda twin: twin.turn())
        assert any(sign & signs.SINK_ERROR for inbound, sign in found if inbound is (side == 0))


def test_both_builds_report_an_end() -> None:
    with twins(limit=1000, rsv=(0, 0), send=0) as made:
        made.same(lambda twin: twin.far[0].shutdown(socket.SHUT_WR))
        assert made.same(lambda twin: twin.turn()) == [(True, signs.EOF)]


def test_both_builds_report_what_is_watched() -> None:
    for build in (hot_pure, build_of("compiled")):
        engine = build.Engine(WINDOW, memoryview(bytearray(BLOCK_WORDS * 8)).cast("Q"))
        reader, writer = os.pipe()
        target = object()
        engine.watch(reader, target)
        assert engine.turn(0.0) == []
        os.write(writer, b"x")
        assert engine.turn(0.0) == [(target, select.EPOLLIN)]
        engine.unwatch(reader)
        assert engine.turn(0.0) == []
        engine.close()
        os.close(reader)
        os.close(writer)


def test_both_builds_have_the_same_public_names() -> None:
    compiled = build_of("compiled")

    def public(thing: object) -> set[str]:
        return {name for name in dir(thing) if not name.startswith("_")}

    words = memoryview(bytearray(BLOCK_WORDS * 8)).cast("Q")
    pure_engine, compiled_engine = (build.Engine(WINDOW, words) for build in (hot_pure, compiled))
    # How far the pure walk may skip ahead is its own business.
    assert public(hot_pure.Flow) - {"between", "steps", "whole"} == public(compiled.Flow)
    # What only measurements of the compiled walk need is not asked of the pure one.
    assert public(compiled_engine) ^ public(pure_engine) <= {"load"}
    pure_engine.close()
    assert (hot_pure.Engine.name, compiled.Engine.name) == ("pure", "compiled")
