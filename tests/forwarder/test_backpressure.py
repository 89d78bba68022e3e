"""A direction is read only while its destination can take more (I5); memory is bounded by the window."""

from __future__ import annotations

import contextlib
import math
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bascule.forwarder import timers
from bascule.forwarder.signs import SCARCE_BYTES, SCARCE_FROM
from bascule.handover.counters import ForwarderWord
from bascule.protocol.closing import End
from tests.support.farends import Peer
from tests.support.frames import BINARY, CLOSE, KEY, TEXT, close, frame
from tests.support.relaying import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.forwarder.conftest import MakeWorld
    from tests.support.relaying import Line, World

WINDOW = 16384
MUCH = 1_000_000
STUCK = 60_000
"""Bytes that fill a receiver's buffers and a stash, and of which the rest fits into the buffers before it."""

BOTH_WAYS = pytest.mark.parametrize("key", [KEY, None], ids=["inbound", "outbound"])


def _peers(line: Line, key: bytes | None) -> tuple[Peer, Peer]:
    return (line.browser, line.upstream) if key else (line.upstream, line.browser)


def _stalled(world: World, key: bytes | None, data: bytes) -> tuple[Line, Peer, Peer]:
    """Return a line whose sender has sent more than its receiver, who does not read, can be given."""
    line = world.open(limit=1 << 30, send=4608, receive=4096)
    sender, receiver = _peers(line, key)
    receiver.stalled = True
    sender.send(data)
    world.quiet()
    return line, sender, receiver


@BOTH_WAYS
def test_a_stalled_sink_stops_its_source_and_holds_at_most_a_window(
    make_world: MakeWorld, key: bytes | None
) -> None:  # 86
    world = make_world(window=WINDOW, unix=True)
    line, sender, _ = _stalled(world, key, frame(BINARY, b"x" * MUCH, key=key))
    assert 0 < line.stashed <= WINDOW
    assert sender.unsent > 0
    assert world.word(ForwarderWord.STASHED_BYTES) == line.stashed
    unsent = sender.unsent
    world.quiet()
    assert sender.unsent == unsent


CROWD = 50
"""Sessions whose stashes would take twice `SCARCE_FROM` together if each had a window."""

LARGE = 262144


def _crowd_stalled(world: World, key: bytes | None, data: bytes) -> list[tuple[Line, Peer, Peer]]:
    """Return lines whose receivers read nothing, and whose senders can send no more."""
    crowd = [
        (line, *_peers(line, key)) for line in (world.open(limit=1 << 30, send=4608) for _ in range(CROWD))
    ]
    for _, sender, receiver in crowd:
        receiver.stalled = True
        sender.send(data)
    world.quiet()
    return crowd


@BOTH_WAYS
def test_many_stalled_sinks_together_hold_little_more_than_a_few(
    make_world: MakeWorld, key: bytes | None
) -> None:
    world = make_world(window=LARGE, unix=True)
    crowd = _crowd_stalled(world, key, frame(BINARY, b"x" * MUCH, key=key))
    assert all(line.stashed for line, _, _ in crowd)
    assert SCARCE_FROM < world.word(ForwarderWord.STASHED_BYTES) <= SCARCE_FROM + LARGE + CROWD * SCARCE_BYTES


@BOTH_WAYS
def test_a_whole_window_is_received_again_once_less_is_stashed(
    make_world: MakeWorld, key: bytes | None
) -> None:
    world = make_world(window=LARGE, unix=True)
    data = frame(BINARY, b"x" * MUCH, key=key)
    crowd = _crowd_stalled(world, key, data)
    for _, _, receiver in crowd:
        receiver.stalled = False
    world.until(lambda: all(receiver.received == data for _, _, receiver in crowd))
    assert world.word(ForwarderWord.STASHED_BYTES) == 0
    line, _, _ = _stalled(world, key, data)
    assert line.stashed > 2 * SCARCE_BYTES


@BOTH_WAYS
def test_everything_arrives_once_the_sink_moves_again(make_world: MakeWorld, key: bytes | None) -> None:
    world = make_world(window=WINDOW, unix=True)
    data = b"".join(frame(BINARY, bytes([n % 251]) * 997, key=key) for n in range(1000))
    _, _, receiver = _stalled(world, key, data)
    receiver.stalled = False
    world.until(lambda: len(receiver.received) == len(data))
    assert bytes(receiver.received) == data
    world.quiet()
    assert world.word(ForwarderWord.STASHED_BYTES) == 0


@BOTH_WAYS
def test_the_other_direction_goes_on_while_one_is_stalled(make_world: MakeWorld, key: bytes | None) -> None:
    world = make_world(window=WINDOW, unix=True)
    _, sender, receiver = _stalled(world, key, frame(BINARY, b"x" * MUCH, key=key))
    back = frame(TEXT, b"still here", key=None if key else KEY)
    receiver.send(back)
    world.until(lambda: bytes(sender.received) == back)


def test_one_stalled_session_does_not_stop_another(make_world: MakeWorld) -> None:
    world = make_world(window=WINDOW, unix=True)
    _stalled(world, None, frame(BINARY, b"x" * MUCH))
    other = world.open()
    other.upstream.send(frame(TEXT, b"hello"))
    world.until(lambda: other.browser.frames)


def test_both_directions_stalled_at_once_recover(make_world: MakeWorld) -> None:
    world = make_world(window=WINDOW, unix=True)
    line = world.open(limit=1 << 30, send=4608)
    line.browser.stalled = line.upstream.stalled = True
    to_browser, to_upstream = frame(BINARY, b"x" * MUCH), frame(BINARY, b"y" * MUCH, key=KEY)
    line.upstream.send(to_browser)
    line.browser.send(to_upstream)
    world.quiet()
    assert 0 < line.stashed <= 2 * WINDOW
    line.browser.stalled = line.upstream.stalled = False
    world.until(lambda: len(line.browser.received) == len(to_browser), "all is there")
    world.until(lambda: len(line.upstream.received) == len(to_upstream), "all is there")
    assert bytes(line.browser.received) == to_browser
    assert bytes(line.upstream.received) == to_upstream


@BOTH_WAYS
def test_a_receiver_that_takes_a_byte_at_a_time_gets_every_byte(
    make_world: MakeWorld, key: bytes | None
) -> None:
    world = make_world(window=4096, unix=True)
    data = frame(BINARY, bytes(range(256)) * 40, key=key) + frame(TEXT, b"end", key=key)
    _, _, receiver = _stalled(world, key, data)
    taken = bytearray()
    while len(taken) < 3000:
        taken += receiver.socket.recv(1)
        world.turn()
    receiver.stalled = False
    world.until(lambda: len(taken) + len(receiver.received) == len(data))
    assert bytes(taken + receiver.received) == data


@BOTH_WAYS
def test_what_is_stashed_is_delivered_before_the_end_of_its_sender(
    make_world: MakeWorld, key: bytes | None
) -> None:
    world = make_world(window=WINDOW, unix=True)
    data = frame(TEXT, b"x" * 1000, key=key) * 60
    line, sender, receiver = _stalled(world, key, data)
    assert line.stashed
    assert sender.unsent == 0
    sender.half_close()
    receiver.stalled = False
    world.until(lambda: receiver.frames[-1:] and receiver.frames[-1].opcode == CLOSE)
    assert bytes(receiver.received).startswith(data)
    assert receiver.frames[-1].code == (1001 if key else 1014)
    line.cut()


@BOTH_WAYS
def test_what_is_stashed_in_front_of_a_close_is_delivered_before_it(
    make_world: MakeWorld, key: bytes | None
) -> None:
    world = make_world(window=WINDOW, unix=True)
    data = frame(TEXT, b"x" * 1000, key=key) * 300 + close(4000, b"done", key)
    _, _, receiver = _stalled(world, key, data)
    receiver.stalled = False
    world.until(lambda: len(receiver.received) == len(data))
    assert bytes(receiver.received) == data


@BOTH_WAYS
def test_a_sink_that_fails_with_bytes_waiting_gives_them_up(make_world: MakeWorld, key: bytes | None) -> None:
    world = make_world(window=WINDOW)
    line, sender, receiver = _stalled(world, key, frame(BINARY, b"x" * MUCH, key=key))
    assert line.stashed
    receiver.reset()
    world.until(lambda: sender.frames[-1:] and sender.frames[-1].opcode == CLOSE)
    assert sender.frames[-1].code == (1014 if key else 1001)
    sender.close()
    assert line.outcome().end == (End.UPSTREAM_ABORTED if key else End.CLIENT_ABORTED)
    assert world.word(ForwarderWord.STASHED_BYTES) == 0


def _finds_quickly_and_once(world: World) -> None:
    """Turn the loop once for what is to be found, and see that nothing wakes it from then on."""
    world.until(lambda: world.relay.next_at < math.inf, "it is found")
    for _ in range(5):
        assert not world.turn(0.01)
    assert world.comes_to_rest()


@pytest.mark.parametrize("leave", [Peer.reset, Peer.close, Peer.half_close])
@pytest.mark.parametrize("unix", [False, True], ids=["tcp", "unix"])
@BOTH_WAYS
def test_a_waiting_session_whose_sender_leaves_costs_one_turn(
    make_world: MakeWorld, key: bytes | None, unix: bool, leave: Callable[[Peer], None]
) -> None:
    # Neither the end nor the failure of a source can be read while its bytes are stashed.
    world = make_world(window=WINDOW, unix=unix)
    line, sender, _ = _stalled(world, key, b"")
    sender.send(frame(BINARY, b"x" * MUCH, key=key)[:STUCK])
    world.until(lambda: line.stashed and not sender.unsent)
    leave(sender)
    _finds_quickly_and_once(world)
    assert line.ended is None


@BOTH_WAYS
def test_a_peer_that_ends_both_directions_and_takes_nothing_costs_no_turns(
    make_world: MakeWorld, key: bytes | None
) -> None:
    # Its Unix socket is not writable and never will be, and epoll reports that the connection has ended.
    world = make_world(window=WINDOW, unix=True)
    line, _, receiver = _stalled(world, key, frame(BINARY, b"x" * MUCH, key=key))
    receiver.socket.shutdown(socket.SHUT_RDWR)
    _finds_quickly_and_once(world)
    assert not line.stashed
    line.cut()


@pytest.mark.parametrize("unix", [False, True], ids=["tcp", "unix"])
def test_a_source_that_leaves_while_both_directions_wait_costs_no_turns(
    make_world: MakeWorld, unix: bool
) -> None:
    world = make_world(window=WINDOW, unix=unix)
    line = world.open(limit=1 << 30, send=4608, receive=4096)
    line.browser.stalled = line.upstream.stalled = True
    line.upstream.send(frame(BINARY, b"x" * MUCH))
    line.browser.send(frame(BINARY, b"y" * MUCH, key=KEY)[:STUCK])
    session = world.relay.sessions[line.id]
    world.until(lambda: session.inbound.stashed and session.outbound.stashed and not line.browser.unsent)
    line.browser.half_close()
    _finds_quickly_and_once(world)
    line.browser.stalled = line.upstream.stalled = False
    world.until(lambda: line.browser.over or line.browser.frames)


def _watched() -> set[int]:
    """Return the descriptors that any epoll of this process has (proc(5), fdinfo)."""
    found = set()
    for descriptor in Path("/proc/self/fdinfo").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found |= {
                int(line.split()[1]) for line in descriptor.read_text().splitlines() if line[:4] == "tfd:"
            }
    return found


def test_no_connection_leaves_epoll_before_its_session_ends(make_world: MakeWorld) -> None:
    # Adding one can fail: no memory, or the user's limit. A stall must not risk it.
    world = make_world(window=WINDOW, unix=True)
    line = world.open(limit=1 << 30, send=4608)
    session = world.relay.sessions[line.id]
    ours = {session.inbound.source, session.outbound.source}
    for half_closes in (False, True):
        line.browser.stalled = line.upstream.stalled = True
        line.upstream.send(frame(BINARY, b"x" * MUCH))
        line.browser.send(frame(BINARY, b"y" * MUCH, key=KEY))
        world.until(lambda: session.inbound.stashed and session.outbound.stashed)
        assert ours <= _watched()
        line.upstream.stalled = False
        world.until(lambda: not session.inbound.stashed and session.outbound.stashed)
        assert ours <= _watched()
        line.browser.stalled = False
        world.until(lambda: not line.stashed)
        assert ours <= _watched()
        if half_closes:
            line.browser.half_close()
            world.until(lambda: session.inbound.gone)
            assert ours <= _watched()
    line.upstream.close()
    world.until(lambda: line.ended)
    assert not ours & _watched()


def test_closing_gives_a_stalled_browser_until_the_deadline(make_world: MakeWorld) -> None:
    world = make_world(window=WINDOW, unix=True, closing=PATIENCE * 100)
    line, _, _ = _stalled(world, None, frame(BINARY, b"x" * MUCH))
    world.relay.end(line.id, End.DRAIN)
    world.quiet()
    assert world.reports == []
    world.later(PATIENCE * 101)
    assert line.ended is not None
    assert world.word(ForwarderWord.STASHED_BYTES) == 0


CLOSING = 60.0


def _takes_slowly(world: World, receiver: Peer, looks: int) -> None:
    """Let a peer take up to 4 KiB in each quarter of a closing handshake's time."""
    for _ in range(looks):
        world.until(lambda: receiver.take(4096))
        world.later(CLOSING / 4)


def _saying_farewell(world: World, key: bytes | None) -> tuple[Line, Peer]:
    """Return a line that is ending, with most of a window and a Close on their way to a peer."""
    line = world.open(send=4608)
    sender, receiver = _peers(line, key)
    receiver.stalled = True
    sender.send(frame(BINARY, b"x" * 1000, key=key) * 60 + close(1000, b"bye", key))
    world.until(lambda: world.relay.sessions[line.id].end is not None)
    return line, receiver


@BOTH_WAYS
def test_a_slow_peer_is_not_cut_while_it_takes_what_was_said_before_the_close(
    make_world: MakeWorld, key: bytes | None
) -> None:
    world = make_world(window=WINDOW * 4, unix=True, closing=CLOSING)
    line, receiver = _saying_farewell(world, key)
    _takes_slowly(world, receiver, 8)
    assert line.ended is None
    receiver.stalled = False
    world.quiet()
    assert [found.opcode for found in receiver.frames] == [BINARY] * 60 + [CLOSE]
    world.later(CLOSING / 4)  # sees that it has taken all
    world.later(CLOSING * 0.9)
    assert line.ended is None, "it has as long as any to answer"
    world.later(CLOSING * 0.2)
    assert line.ended is not None


@BOTH_WAYS
def test_a_slow_peer_that_takes_no_more_is_cut(make_world: MakeWorld, key: bytes | None) -> None:
    world = make_world(window=WINDOW * 4, unix=True, closing=CLOSING)
    line, receiver = _saying_farewell(world, key)
    _takes_slowly(world, receiver, 8)
    assert line.ended is None
    for _ in range(6):
        world.later(CLOSING / 4)
    assert line.ended is not None


@BOTH_WAYS
def test_a_peer_that_takes_a_little_now_and_then_is_cut_in_the_end(
    make_world: MakeWorld, key: bytes | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timers, "_LONGEST_FAREWELL", CLOSING * 2)
    world = make_world(window=WINDOW * 4, unix=True, closing=CLOSING)
    line, receiver = _saying_farewell(world, key)
    _takes_slowly(world, receiver, 7)
    assert line.ended is None
    _takes_slowly(world, receiver, 6)
    assert line.ended is not None


@BOTH_WAYS
def test_a_peer_that_takes_slowly_cannot_put_off_an_end_on_purpose(
    make_world: MakeWorld, key: bytes | None
) -> None:
    world = make_world(window=WINDOW * 4, unix=True, closing=CLOSING)
    line, receiver = _saying_farewell(world, key)
    world.relay.end(line.id, End.ADMIN)  # it is ending already
    _takes_slowly(world, receiver, 3)
    assert line.ended is None
    _takes_slowly(world, receiver, 2)
    assert line.ended is not None


def test_an_upstream_that_does_not_heed_a_close_is_cut_though_its_browser_reads(
    make_world: MakeWorld,
) -> None:
    world = make_world(window=WINDOW, unix=True, closing=CLOSING)
    line, _, browser = _stalled(world, None, frame(BINARY, b"x" * 1000) * 1000)
    line.browser.send(close(1000, key=KEY))
    world.until(lambda: line.upstream.frames)
    _takes_slowly(world, browser, 3)
    assert line.ended is None
    _takes_slowly(world, browser, 2)
    assert line.ended is not None
