"""The middle of a large frame goes through a pipe: what must not differ from copying it."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import sys
from array import array
from typing import TYPE_CHECKING, Any

import pytest

from bascule.forwarder import hot_pure, signs
from bascule.handover.counters import BLOCK_WORDS, ForwarderWord
from tests.support.farends import Peer, tcp_pair
from tests.support.frames import header

if TYPE_CHECKING:
    from collections.abc import Iterator

WINDOW = 256 * 1024
SIZE = 4 * 1024 * 1024
LIMIT = 32 * 1024 * 1024


class Rig:
    """One session's flow from an upstream to a browser, with both far ends."""

    def __init__(self, hot: Any) -> None:
        self.hot = hot
        self.words = memoryview(array("Q", bytes(8 * BLOCK_WORDS)))
        self.engine: Any = hot.Engine(WINDOW, self.words)
        self.upstream, source = socket.socketpair()
        self.browser, sink = socket.socketpair()
        self.ends = (self.upstream, source, self.browser, sink)
        for end in self.ends:
            end.setblocking(False)
        now = self.engine.now
        self.flow = hot.Flow(None, source.fileno(), sink.fileno(), False, LIMIT, 0, 0, now)
        self.back = hot.Flow(None, sink.fileno(), source.fileno(), True, LIMIT, 0, 0, now)
        self.flow.opposite, self.back.opposite = self.back, self.flow
        self.engine.attach(self.flow)
        self.engine.attach(self.back)

    def send(self, data: memoryview) -> int:
        try:
            return self.upstream.send(data)
        except BlockingIOError:
            return 0

    def receive(self) -> bytes:
        try:
            return self.browser.recv(1 << 20)
        except BlockingIOError:
            return b""

    def end(self) -> None:
        self.flow.opposite = self.back.opposite = None
        self.engine.close()
        for end in self.ends:
            end.close()


@pytest.fixture
def rig(build: Any) -> Iterator[Rig]:
    rig = Rig(build)
    yield rig
    rig.end()


def test_large_frames_with_small_ones_around_them_arrive_as_they_were_sent(rig: Rig) -> None:
    small = header(2, 3) + b"abc"
    sent = small + header(2, SIZE) + os.urandom(SIZE) + small + header(1, 70_000) + bytes(70_000) + small
    rest = memoryview(sent)
    received = bytearray()
    while len(received) < len(sent):
        rest = rest[rig.send(rest) :]
        assert rig.engine.turn(0.0) == []
        assert rig.flow.stashed <= WINDOW
        received += rig.receive()
    assert received == sent
    assert rig.flow.frames == 5
    assert rig.flow.at_boundary
    assert rig.words[ForwarderWord.STASHED_BYTES] == 0


def test_a_browser_that_does_not_read_leaves_nothing_behind_in_the_pipe_all_sessions_share(rig: Rig) -> None:
    sent = header(2, SIZE) + os.urandom(SIZE)
    rest = memoryview(sent)
    while not rig.flow.stashed:
        rest = rest[rig.send(rest) :]
        assert rig.engine.turn(0.0) == []
    other = Rig(rig.hot)
    other.engine.close()
    # The same engine takes a second session while the first one's sink is full.
    source, sink = other.ends[1], other.ends[3]
    flow = rig.hot.Flow(None, source.fileno(), sink.fileno(), False, LIMIT, 0, 0, rig.engine.now)
    rig.engine.attach(flow)
    message = header(2, 100_000) + os.urandom(100_000)
    left = memoryview(message)
    received = bytearray()
    while len(received) < len(message):
        left = left[other.send(left) :]
        rig.engine.turn(0.0)
        received += other.receive()
    assert received == message
    rig.engine.detach(flow)
    for end in other.ends:
        end.close()
    received = bytearray()
    while len(received) < len(sent):
        rest = rest[rig.send(rest) :]
        rig.engine.turn(0.0)
        received += rig.receive()
    assert received == sent


def test_a_browser_that_has_gone_in_the_middle_of_a_frame_is_a_failed_sink(rig: Rig) -> None:
    sent = memoryview(header(2, SIZE) + bytes(SIZE))
    sent = sent[rig.send(sent) :]
    rig.engine.turn(0.0)
    rig.browser.close()
    found = 0
    for _ in range(50):
        sent = sent[rig.send(sent) :]
        for flow, bits in rig.engine.turn(0.0):
            found |= bits if flow is rig.flow else 0
        if found:
            break
    assert found & (signs.SINK_ERROR | signs.ERROR)
    assert rig.words[ForwarderWord.STASHED_BYTES] == rig.flow.stashed


@pytest.mark.parametrize("failing", ["source", "sink"])
def test_what_the_kernel_has_no_memory_to_splice_is_copied(
    monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    """In the pure build, for which a test can let the call fail; for the other tests/faults has strace."""
    rig = Rig(hot_pure)
    splice, sink = os.splice, rig.flow.sink
    refused = 0

    def lack(source: int, into: int, *most: int, **flags: int) -> int:
        nonlocal refused
        if refused < 3 and (into == sink) is (failing == "sink"):
            refused += 1
            raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
        return splice(source, into, *most, **flags)

    monkeypatch.setattr(os, "splice", lack)
    said = header(2, SIZE) + os.urandom(SIZE)
    left, got = memoryview(said), b""
    while len(got) < len(said):
        left = left[rig.send(left) :]
        assert rig.engine.turn(rig.engine.now + 1.0) == []
        got += rig.receive()
    assert got == said
    assert refused == 3
    rig.end()


def test_a_connection_that_fails_in_the_middle_of_a_large_frame_says_why(build: Any) -> None:
    engine = build.Engine(WINDOW, memoryview(array("Q", bytes(8 * BLOCK_WORDS))))
    source, upstream = tcp_pair()
    sink, browser = tcp_pair()
    with source, sink, browser:
        flow = build.Flow(None, source.fileno(), sink.fileno(), False, LIMIT, 0, 0, engine.now)
        engine.attach(flow)
        upstream.send(header(2, SIZE))
        assert engine.turn(engine.now + 1.0) == []
        assert flow.remaining == SIZE
        Peer(upstream).reset()
        assert engine.turn(engine.now + 5.0) == [(flow, signs.ERROR)]
        assert flow.error == errno.ECONNRESET
        engine.detach(flow)
        engine.close()


_SIOCOUTQNSD = 0x894B
"""Asks a TCP socket how much of what was written it has not sent yet (tcp(7) has SIOCOUTQ, with it)."""


def not_sent(connection: socket.socket) -> int:
    return int.from_bytes(fcntl.ioctl(connection, _SIOCOUTQNSD, bytes(4)), sys.byteorder)


@pytest.mark.parametrize("before", ["a whole message", "the end of a message"])
def test_the_kernel_keeps_nothing_back_that_is_whole_though_a_large_frame_begins_behind_it(
    build: Any, before: str
) -> None:
    engine = build.Engine(WINDOW, memoryview(array("Q", bytes(8 * BLOCK_WORDS))))
    source, upstream = tcp_pair()
    sink, browser = tcp_pair()
    small = header(1, 1000) + bytes(1000)
    first, then = {
        "a whole message": (b"", small),
        "the end of a message": (small[:300], small[300:]),
    }[before]
    with source, upstream, sink, browser:
        flow = build.Flow(None, source.fileno(), sink.fileno(), False, LIMIT, 0, 0, engine.now)
        engine.attach(flow)
        if first:
            upstream.send(first)
            engine.turn(engine.now + 1.0)
        upstream.send(then + header(2, SIZE) + bytes(100))
        assert engine.turn(engine.now + 1.0) == []
        assert flow.remaining == SIZE - 100
        assert not_sent(sink) == 0
        engine.detach(flow)
    engine.close()


def test_a_close_of_ours_is_not_kept_back_behind_a_large_frame_that_nobody_gets(build: Any) -> None:
    engine = build.Engine(WINDOW, memoryview(array("Q", bytes(8 * BLOCK_WORDS))))
    source, upstream = tcp_pair()
    sink, browser = tcp_pair()
    with source, upstream, sink, browser:
        flow = build.Flow(None, source.fileno(), sink.fileno(), False, LIMIT, 0, 0, engine.now)
        engine.attach(flow)
        upstream.send(header(1, 1000) + bytes(500))
        engine.turn(engine.now + 1.0)
        flow.stop = flow.wanted = True
        upstream.send(bytes(500) + header(2, SIZE) + bytes(100))
        assert engine.turn(engine.now + 1.0) == [(flow, signs.BOUNDARY)]
        assert engine.inject(flow, header(8, 2) + b"\x03\xf4") == 0
        assert not_sent(sink) == 0
        assert len(browser.recv(5000)) == 1008
        engine.detach(flow)
    engine.close()


def test_behind_a_large_frame_little_is_copied_of_another_and_small_ones_are_read_as_ever(rig: Rig) -> None:
    large, small = header(2, 100_000), header(2, 3) + b"abc"
    behind = large + bytes(100_000)
    for first, copied in ((large + bytes(100_000), signs.GLIMPSE_BYTES), (small, len(behind))):
        rest = memoryview(first)
        while rest or not rig.flow.at_boundary:
            rest = rest[rig.send(rest) :]
            rig.engine.turn(0.0)
            rig.receive()
        assert rig.send(memoryview(behind)) == len(behind)
        rig.engine.turn(0.0)  # one receive
        assert rig.flow.remaining == max(0, len(behind) - copied)
        while not rig.flow.at_boundary:
            rig.engine.turn(0.0)
            rig.receive()


@pytest.mark.parametrize("size", [signs.SPLICE_FROM - 1, signs.SPLICE_FROM])
def test_both_builds_call_the_same_frames_large(rig: Rig, size: int) -> None:
    sent = memoryview(header(2, size) + bytes(size))
    while sent or not rig.flow.at_boundary:
        sent = sent[rig.send(sent) :]
        rig.engine.turn(0.0)
        rig.receive()
    assert rig.flow.large is (size >= signs.SPLICE_FROM)
