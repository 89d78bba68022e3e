"""A state machine over a scripted kernel: short reads and writes, EAGAIN, EINTR, resets, at every step.

Whatever the order of events: what passed is a prefix of what was sent, our control frames are at
boundaries (I1), nothing follows a Close (I2), no source is read while its bytes wait (I5), memory is
bounded by the window, and each session ends with exactly one report (I8) and every descriptor closed once.
"""

from __future__ import annotations

import errno
import time
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from bascule.forwarder import connection, hot_pure, relay, waiting
from bascule.forwarder.outbox import count_outcome
from bascule.forwarder.relay import Relay
from bascule.forwarder.timers import Intervals
from bascule.handover.counters import BLOCK_WORDS, CLOSE_CODES_BASE, ENDED_BASE, ForwarderWord
from bascule.handover.messages import Adopt
from bascule.protocol.closing import CLOSE_TABLE, End
from bascule.protocol.frames import OUR_PING_PAYLOAD
from tests.support.frames import CLOSE, PING, PONG, close, frame, frames_of, leftover
from tests.support.framestreams import THEIRS, passes, streams
from tests.support.syscalls import Kernel

if TYPE_CHECKING:
    import random

    from bascule.handover.messages import Ended
    from tests.support.syscalls import Wire

WINDOW = 300
BEAT, ANSWER, IDLE, CLOSING = 20.0, 60.0, 500.0, 5.0

_ORDERED = st.sampled_from([End.DRAIN, End.ADMIN, End.IDLE])

FAILURES = (errno.ECONNRESET, errno.ETIMEDOUT, errno.EHOSTUNREACH)


class Side:
    """What one peer has sent and got."""

    def __init__(self, wire: Wire, masked: bool) -> None:
        self.wire = wire
        self.masked = masked
        self.sent = bytearray()
        self.waiting = bytearray()
        self.closing = False


class Machine(RuleBasedStateMachine):
    """Two sessions at once, so that one cannot disturb the other unseen."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = pytest.MonkeyPatch()  # each example has a kernel of its own

    @initialize(asks=st.booleans())
    def start(self, asks: bool) -> None:
        self.kernel = Kernel()
        self.kernel.install(self.patches, hot_pure, relay, connection, waiting)
        self.patches.setattr(
            waiting, "arrived", lambda descriptor: len(self.kernel.wire(descriptor).incoming)
        )
        self.words = memoryview(bytearray(BLOCK_WORDS * 8)).cast("Q")
        self.engine = hot_pure.Engine(WINDOW, self.words, 4096)
        self.reports: list[Ended] = []
        self.relay = Relay(
            self.engine, self.words, intervals=Intervals(BEAT, ANSWER * asks, IDLE, CLOSING),
            report=self._heard, flow=hot_pure.Flow,
        )  # fmt: skip
        self.late = 0.0
        self.sides: list[Side] = []
        for identifier in (1, 2):
            browser, browser_wire = self.kernel.connect()
            upstream, upstream_wire = self.kernel.connect()
            self.sides += [Side(browser_wire, True), Side(upstream_wire, False)]
            adopt = Adopt(identifier, 0, 0x40, 0, time.monotonic(), 1 << 20, b"", b"", b"", b"")
            self.relay.adopt(adopt, browser, upstream)

    def _heard(self, ended: Ended) -> None:
        count_outcome(self.words, ended)
        self.reports.append(ended)

    @property
    def started(self) -> bool:
        return hasattr(self, "sides")

    # -- what the peers do ------------------------------------------------------------------------

    @rule(which=st.integers(0, 3), data=st.data())
    def say(self, which: int, data: st.DataObject) -> None:
        side = self.sides[which]
        if not side.waiting and not side.closing and not side.wire.peer_ended:
            side.closing = data.draw(st.integers(0, 5), "ends") == 0
            side.waiting += data.draw(streams(masked=side.masked, ends=side.closing), "says")[:3000]

    @rule(which=st.integers(0, 3), size=st.sampled_from([1, 2, 5, 14, 100, 1000, 5000]))
    def send(self, which: int, size: int) -> None:
        side = self.sides[which]
        if not side.wire.dead and not side.wire.peer_ended:
            side.wire.incoming += side.waiting[:size]
            side.sent += side.waiting[:size]
            del side.waiting[:size]

    @rule(which=st.integers(0, 3), size=st.sampled_from([0, 1, 50, 1 << 20]))
    def take(self, which: int, size: int) -> None:
        """Set how much more the peer lets itself be sent."""
        self.sides[which].wire.room = size

    @rule(which=st.integers(0, 3))
    def end(self, which: int) -> None:
        self.sides[which].wire.peer_ended = True

    @rule(
        which=st.integers(0, 3),
        error=st.sampled_from(FAILURES),
    )
    def fail(self, which: int, error: int) -> None:
        wire = self.sides[which].wire
        if not wire.closed and not wire.dead:
            wire.fail(error)

    @rule(which=st.integers(0, 3))
    def answer_a_close(self, which: int) -> None:
        """Do what a well-behaved peer does once it has been told."""
        side = self.sides[which]
        said = frames_of(bytes(side.wire.outgoing))
        if said and said[-1].opcode == CLOSE and not side.closing and not side.wire.peer_ended:
            side.closing = True
            side.waiting += close(said[-1].code, key=b"abcd" if side.masked else None)

    @rule(which=st.sampled_from([0, 2]))
    def answer_a_ping(self, which: int) -> None:
        side = self.sides[which]
        asked = [found.payload for found in frames_of(bytes(side.wire.outgoing)) if found.opcode == PING]
        if asked and not side.waiting and not side.closing and not side.wire.peer_ended:
            side.waiting += frame(PONG, asked[-1], key=b"abcd")

    @rule(
        which=st.integers(0, 3),
        meets=st.sampled_from(["a ping", "a fault", "an end", "an order", "a Close"]),
        backwards=st.booleans(),
    )
    def a_close_meets_something(self, which: int, meets: str, backwards: bool) -> None:
        """Let a peer's Close be found in one turn with what its session's other peer or the gateway says."""
        side, other = self.sides[which], self.sides[which ^ 1]
        self.send(which, 5000)
        self.send(which ^ 1, 5000)
        self.turn(20)
        for peer, said in ((side, "a Close"), (other, meets)):
            if peer.closing or peer.wire.peer_ended or peer.waiting:
                continue
            key = b"abcd" if peer.masked else None
            peer.waiting += {
                "a ping": frame(PING, b"?", key=key), "a fault": b"\xff\x00", "a Close": close(4000, key=key),
            }.get(said, b"")  # fmt: skip
            peer.closing = said in ("a fault", "a Close")
            peer.wire.peer_ended = said == "an end"
        self.send(which, 5000)
        self.send(which ^ 1, 5000)
        self.kernel.order = list.reverse if backwards else list
        if meets == "an order":
            self.turn_with_an_order(which // 2 + 1, End.DRAIN, 0)
        else:
            self.turn(1)

    # -- what the kernel does -----------------------------------------------------------------------

    @rule(most=st.sampled_from([1, 3, 20, 1 << 20]))
    def move_at_most(self, most: int) -> None:
        self.kernel.most = most

    @rule(order=st.randoms(use_true_random=False))
    def report_in_another_order(self, order: random.Random) -> None:
        self.kernel.order = order.shuffle

    @rule()
    def hiccup(self) -> None:
        self.kernel.hiccup = errno.EAGAIN

    # -- what the forwarder does -----------------------------------------------------------------------

    @rule(times=st.integers(1, 30))
    def turn(self, times: int) -> None:
        for _ in range(times):
            for flow, found in self.engine.turn(0.0):
                self.relay.on_signs(flow, found)

    @rule(identifier=st.sampled_from([1, 2]), end=_ORDERED, ahead_of=st.integers(0, 4))
    def turn_with_an_order(self, identifier: int, end: End, ahead_of: int) -> None:
        """Let the gateway's order to end a session come in one turn with other things."""
        for place, (flow, found) in enumerate(self.engine.turn(0.0)):
            if place == ahead_of:
                self.tell(identifier, end)
            self.relay.on_signs(flow, found)

    @rule(seconds=st.sampled_from([BEAT + 1, ANSWER + 1, CLOSING + 1, IDLE + 1]))
    def wait(self, seconds: float) -> None:
        self.late += seconds
        self.relay.on_time(time.monotonic() + self.late)

    @rule(identifier=st.sampled_from([1, 2]), end=_ORDERED)
    def tell(self, identifier: int, end: End) -> None:
        self.relay.end(identifier, end, within=60.0)

    # -- what must always be true ------------------------------------------------------------------------

    @precondition(lambda self: self.started)
    @invariant()
    def what_passed_is_a_prefix_of_what_was_sent(self) -> None:
        for index, receiver in enumerate(self.sides):
            sender = self.sides[index ^ 1]
            got = bytes(receiver.wire.outgoing)
            frames = frames_of(got)
            closes = [found for found in frames if found.opcode == CLOSE]
            assert len(closes) <= 1
            if closes:
                assert frames[-1].opcode == CLOSE  # I2
                assert leftover(got) == b""
            theirs = [found.raw for found in frames if not self._is_ours(found, receiver)]
            sent = bytes(sender.sent)
            passing = b"".join(found.raw for found in frames_of(sent) if passes(found))
            passing += leftover(sent)
            passed = b"".join(theirs)
            unfinished = leftover(got)
            assert passing.startswith(passed)
            assert passing.startswith(passed + unfinished) or self._ours_in_part(unfinished)

    def _is_ours(self, found: Any, receiver: Side) -> bool:
        if found.opcode == PONG:
            return not found.payload.startswith(THEIRS)
        if found.opcode == PING:
            return found.payload == OUR_PING_PAYLOAD and receiver.masked
        if found.opcode == CLOSE:
            sender = self.sides[self.sides.index(receiver) ^ 1]
            said = frames_of(bytes(sender.sent))  # the same bytes may end a frame that is not finished
            return all(theirs.raw != found.raw for theirs in said)
        return False

    @staticmethod
    def _ours_in_part(data: bytes) -> bool:
        """Tell whether these bytes can be the beginning of a control frame of ours."""
        return data[:1] in (b"\x8a", b"\x88", b"\x89")

    @precondition(lambda self: self.started)
    @invariant()
    def a_source_is_not_read_while_its_bytes_wait(self) -> None:
        total = 0
        for session in self.relay.sessions.values():
            for flow in (session.inbound, session.outbound):
                total += flow.stashed
                assert flow.stashed <= WINDOW + 400  # a window, or what of ours was injected
                if flow.stash is not None:
                    assert not flow.interest & 1
        assert self.words[ForwarderWord.STASHED_BYTES] == total

    @precondition(lambda self: self.started)
    @invariant()
    def a_source_that_is_gone_was_heard_and_a_sink_that_is_shut_was_told(self) -> None:
        for session in self.relay.sessions.values():
            for flow in (session.inbound, session.outbound):
                assert flow.heard or not flow.gone
                assert flow.told or not (flow.closed or flow.shut)

    @precondition(lambda self: self.started)
    @invariant()
    def sessions_are_open_or_reported_once(self) -> None:
        ended = [report.id for report in self.reports]
        assert sorted([*ended, *self.relay.sessions]) == [1, 2]
        assert self.words[ForwarderWord.OPEN] == len(self.relay.sessions)
        assert sum(self.words[ENDED_BASE:CLOSE_CODES_BASE]) == len(ended)
        for index, side in enumerate(self.sides):
            assert side.wire.closed == (index // 2 + 1 in ended)

    @precondition(lambda self: self.started)
    @invariant()
    def the_code_that_is_reported_is_that_of_the_close_that_the_browser_got(self) -> None:
        for report in self.reports:
            if CLOSE_TABLE[End(report.end)].to_browser:
                got = frames_of(bytes(self.sides[2 * report.id - 2].wire.outgoing))
                told = [(found.code, found.reason) for found in got if found.opcode == CLOSE]
                assert told == ([(report.code, report.reason)] if report.code else [])

    def teardown(self) -> None:
        try:
            if self.started:
                self.let_both_leave()
        finally:
            self.patches.undo()

    def let_both_leave(self) -> None:
        """Once both peers have left, each session ends by its deadline at the latest."""
        self.kernel.most = 1 << 20
        for side in self.sides:
            side.wire.room = 1 << 20
            side.wire.peer_ended = True
        for _ in range(3):
            self.turn(50)
            self.wait(CLOSING + 1)
        self.what_passed_is_a_prefix_of_what_was_sent()
        assert self.relay.sessions == {}
        self.sessions_are_open_or_reported_once()
        self.the_code_that_is_reported_is_that_of_the_close_that_the_browser_got()


def test_the_relay_survives_whatever_the_kernel_does() -> None:
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=200, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
