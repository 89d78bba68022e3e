"""Frames that RFC 6455 forbids, and frames at the edge that it allows, in both directions.

The attack list's sections E and F; its numbers are in the ids. A fault ends the session by its row, what
came before it in the same packet has passed, and neither the faulty frame nor anything behind it has.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, NamedTuple

import pytest

from bascule.protocol.closing import End
from tests.support.frames import BINARY, CLOSE, CONTINUATION, KEY, PING, PONG, TEXT, close, frame, header

if TYPE_CHECKING:
    from tests.forwarder.conftest import MakeWorld
    from tests.support.farends import Peer
    from tests.support.relaying import Line

LIMIT = 70_000


class Way(NamedTuple):
    """One direction of a session, seen from its sender."""

    name: str
    key: bytes | None
    protocol_error: End
    too_big: End


INBOUND = Way("inbound", KEY, End.CLIENT_PROTOCOL_ERROR, End.CLIENT_TOO_BIG)
OUTBOUND = Way("outbound", None, End.UPSTREAM_PROTOCOL_ERROR, End.UPSTREAM_TOO_BIG)

BOTH_WAYS = pytest.mark.parametrize("way", [INBOUND, OUTBOUND], ids=lambda way: way.name)


def _peers(way: Way, line: Line) -> tuple[Peer, Peer]:
    """Return the sender and the receiver."""
    return (line.browser, line.upstream) if way.key else (line.upstream, line.browser)


GOOD = b"before"


def _faults(key: bytes | None) -> dict[str, bytes]:
    """Return frames that are never allowed, by id."""
    other = None if key else KEY
    found = {
        "59-79-wrong-masking": frame(TEXT, b"x", key=other),
        "59-79-wrong-masking-of-a-ping": frame(PING, b"x", key=other),
        "59-79-wrong-masking-of-a-close": close(1000, key=other),
        "60-RSV1": frame(TEXT, b"x", rsv=0x40, key=key),
        "60-RSV2": frame(TEXT, b"x", rsv=0x20, key=key),
        "60-RSV3": frame(BINARY, b"x", rsv=0x10, key=key),
        "60-RSV1-of-a-ping": frame(PING, b"x", rsv=0x40, key=key),
        "62-ping-without-FIN": frame(PING, b"x", fin=False, key=key),
        "62-close-without-FIN": frame(CLOSE, b"", fin=False, key=key),
        "62-pong-without-FIN": frame(PONG, b"x", fin=False, key=key),
        "63-ping-with-16-bit-length": frame(PING, b"x" * 126, key=key),
        "63-ping-with-short-16-bit-length": frame(PING, b"x", key=key, form=16),
        "63-ping-with-64-bit-length": frame(PING, b"x", key=key, form=64),
        "63-close-with-16-bit-length": frame(CLOSE, b"\x03\xe8" + b"x" * 124, key=key),
        "64-16-bit-length-of-125": frame(TEXT, b"x" * 125, key=key, form=16),
        "64-16-bit-length-of-0": frame(TEXT, b"", key=key, form=16),
        "64-64-bit-length-of-65535": frame(TEXT, b"x" * 65535, key=key, form=64),
        "64-64-bit-length-of-0": frame(TEXT, b"", key=key, form=64),
        "65-most-significant-bit": header(TEXT, 1 << 63, key=key),
        "65-all-bits": header(TEXT, (1 << 64) - 1, key=key),
        "69-continuation-without-a-start": frame(CONTINUATION, b"x", key=key),
        "69-continuation-without-FIN": frame(CONTINUATION, b"x", fin=False, key=key),
        "69-text-inside-a-message": frame(TEXT, b"a", fin=False, key=key) + frame(TEXT, b"b", key=key),
        "69-binary-inside-a-message": frame(TEXT, b"", fin=False, key=key) + frame(BINARY, b"b", key=key),
        "72-close-of-one-byte": frame(CLOSE, b"\x03", key=key),
        "72-reason-of-124": frame(CLOSE, b"\x03\xe8" + b"x" * 124, key=key),
    }
    for opcode in (0x3, 0x4, 0x5, 0x6, 0x7, 0xB, 0xC, 0xD, 0xE, 0xF):
        found[f"61-opcode-{opcode:X}"] = frame(opcode, b"x", key=key)
    for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535):
        found[f"72-close-code-{code}"] = close(code, key=key)
    return found


FAULTS = [
    pytest.param(way, data, id=f"{way.name}-{name}")
    for way in (INBOUND, OUTBOUND)
    for name, data in _faults(way.key).items()
]


@pytest.mark.parametrize(("way", "data"), FAULTS)
def test_a_fault_ends_the_session_and_nothing_of_it_passes(
    make_world: MakeWorld, way: Way, data: bytes
) -> None:
    world = make_world()
    line = world.open(limit=LIMIT)
    sender, receiver = _peers(way, line)
    good = frame(TEXT, GOOD, key=way.key)
    sender.send(good + data + frame(TEXT, b"behind", key=way.key))
    world.until(lambda: line.browser.frames[-1:] and line.browser.frames[-1].opcode == CLOSE)
    world.until(lambda: line.upstream.frames[-1:] and line.upstream.frames[-1].opcode == CLOSE)

    offender_told = sender.frames[-1]
    assert (offender_told.code, offender_told.reason) == (1002, b"Invalid WebSocket framing")
    *passed, last = receiver.frames
    assert passed[0].raw == good
    assert [said.payload for said in passed[1:]] in ([], [b"a"], [b""])  # the first half of 69's message
    assert last.code == (1001 if way.key else 1014)
    assert b"behind" not in bytes(receiver.received)
    assert receiver.unfinished == b""
    assert world.relay.sessions[line.id].end is way.protocol_error


@pytest.mark.parametrize(("way", "data"), FAULTS)
def test_a_fault_is_found_however_it_is_cut(make_world: MakeWorld, way: Way, data: bytes) -> None:
    world = make_world(unix=True)
    line = world.open(limit=LIMIT)
    sender, _ = _peers(way, line)
    for index in range(min(len(data), 20)):
        sender.send(data[index : index + 1])
        world.turn()
    sender.send(data[20:])
    world.until(lambda: world.relay.sessions[line.id].end is way.protocol_error)


# -- at the edge, and allowed ---------------------------------------------------------------------


def _edges(key: bytes | None) -> dict[str, bytes]:
    return {
        "empty": frame(TEXT, b"", key=key),
        "64-16-bit-length-of-126": frame(TEXT, b"x" * 126, key=key),
        "64-16-bit-length-of-65535": frame(TEXT, b"x" * 65535, key=key),
        "64-64-bit-length-of-65536": frame(TEXT, b"x" * 65536, key=key),
        "66-length-at-the-limit": frame(BINARY, b"x" * LIMIT, key=key),
        "70-empty-fragments": frame(TEXT, b"", fin=False, key=key)
        + frame(CONTINUATION, b"", fin=False, key=key) * 50
        + frame(CONTINUATION, b"", key=key),
        "69-pong-inside-a-message": frame(TEXT, b"a", fin=False, key=key)
        + frame(PONG, b"p", key=key)
        + frame(CONTINUATION, b"b", key=key),
        "bad-UTF-8": frame(TEXT, b"\xff\xfe\xc0\x80", key=key),
        "pong-of-125": frame(PONG, b"x" * 125, key=key),
        "pong-nobody-asked-for": frame(PONG, b"", key=key),
        "every-byte": frame(BINARY, bytes(range(256)) * 3, key=key),
    }


@pytest.mark.parametrize(
    ("way", "data"),
    [
        pytest.param(way, data, id=f"{way.name}-{name}")
        for way in (INBOUND, OUTBOUND)
        for name, data in _edges(way.key).items()
    ],
)
def test_what_is_allowed_passes_byte_for_byte(make_world: MakeWorld, way: Way, data: bytes) -> None:
    world = make_world()
    line = world.open(limit=LIMIT)
    sender, receiver = _peers(way, line)
    sender.send(data)
    world.until(lambda: len(receiver.received) >= len(data))
    world.quiet()
    assert bytes(receiver.received) == data


@BOTH_WAYS
@pytest.mark.parametrize(
    "said",
    [
        pytest.param(b"", id="no-code"),
        pytest.param(b"\x03\xe8", id="1000"),
        pytest.param(b"\x03\xe9gone", id="1001"),
        pytest.param(b"\x13\x87mine", id="4999"),
        pytest.param(b"\x03\xe8" + b"x" * 123, id="72-reason-of-123"),
        pytest.param(b"\x03\xe8\xff\xfe", id="72-reason-that-is-no-UTF-8"),
    ],
)
def test_a_close_passes_unchanged(line: Line, way: Way, said: bytes) -> None:
    world = line.world
    sender, receiver = _peers(way, line)
    data = frame(CLOSE, said, key=way.key)
    sender.send(data)
    world.until(lambda: receiver.frames)
    assert bytes(receiver.received) == data
    answer = frame(CLOSE, said[:2], key=None if way.key else KEY)
    receiver.send(answer)
    world.until(lambda: sender.frames)
    assert bytes(sender.received) == answer
    assert line.cut().reason == said[2:]


@BOTH_WAYS
def test_a_close_inside_a_fragmented_message_passes(line: Line, way: Way) -> None:  # 75
    world = line.world
    sender, receiver = _peers(way, line)
    data = frame(TEXT, b"half", fin=False, key=way.key) + close(1000, key=way.key)
    sender.send(data)
    world.until(lambda: len(receiver.frames) == 2)
    assert bytes(receiver.received) == data


@BOTH_WAYS
def test_nothing_follows_a_close(line: Line, way: Way) -> None:  # 73, 74, I2
    world = line.world
    sender, receiver = _peers(way, line)
    first = close(1000, b"first", way.key)
    sender.send(first + frame(TEXT, b"late", key=way.key) + close(1001, b"second", way.key))
    sender.send(frame(PING, b"late", key=way.key))
    world.until(lambda: receiver.frames)
    world.quiet()
    assert bytes(receiver.received) == first
    assert bytes(sender.received) == b""  # not even a pong


# -- the frame ceiling ----------------------------------------------------------------------------


@BOTH_WAYS
@pytest.mark.parametrize("length", [LIMIT + 1, 1 << 31, (1 << 63) - 1], ids=["one-more", "2-GiB", "largest"])
def test_1009_is_decided_at_the_header(make_world: MakeWorld, way: Way, length: int) -> None:  # 66, 83
    world = make_world()
    line = world.open(limit=LIMIT)
    sender, receiver = _peers(way, line)
    # Without the masking key: the length alone decides.
    sender.send(header(BINARY, length, key=way.key)[: 10 if length > 65535 else 4])
    world.until(lambda: sender.frames and receiver.frames)
    for peer in (sender, receiver):
        (said,) = peer.frames
        assert (said.code, said.reason) == (1009, b"Frame exceeds incomingBufferBytes (70000)")
    assert world.relay.sessions[line.id].end is way.too_big


@BOTH_WAYS
def test_the_ceiling_is_a_frames_not_a_messages(make_world: MakeWorld, way: Way) -> None:
    world = make_world()
    line = world.open(limit=100)
    sender, receiver = _peers(way, line)
    fragment = b"x" * 100
    data = (
        frame(TEXT, fragment, fin=False, key=way.key)
        + frame(CONTINUATION, fragment, fin=False, key=way.key) * 20
        + frame(CONTINUATION, fragment, key=way.key)
    )
    sender.send(data)
    world.until(lambda: bytes(receiver.received) == data)


# -- reserved bits --------------------------------------------------------------------------------


@BOTH_WAYS
def test_deflate_may_mark_first_frames_and_passes_opaque(make_world: MakeWorld, way: Way) -> None:  # 60, 78
    world = make_world()
    line = world.open(rsv_first=0x40)
    sender, receiver = _peers(way, line)
    bomb = b"\x00\x00\x00\xff\xff" * 100
    data = frame(TEXT, bomb, rsv=0x40, fin=False, key=way.key) + frame(CONTINUATION, bomb, key=way.key)
    sender.send(data)
    world.until(lambda: bytes(receiver.received) == data)


@BOTH_WAYS
@pytest.mark.parametrize("bit", [0x20, 0x10])
def test_deflate_allows_no_other_bit(make_world: MakeWorld, way: Way, bit: int) -> None:
    world = make_world()
    line = world.open(rsv_first=0x40)
    _peers(way, line)[0].send(frame(TEXT, b"x", rsv=bit, key=way.key))
    world.until(lambda: world.relay.sessions[line.id].end is way.protocol_error)


@BOTH_WAYS
def test_deflate_does_not_mark_continuations(make_world: MakeWorld, way: Way) -> None:
    world = make_world()
    line = world.open(rsv_first=0x40)
    sender, _ = _peers(way, line)
    sender.send(frame(TEXT, b"x", fin=False, key=way.key) + frame(CONTINUATION, b"x", rsv=0x40, key=way.key))
    world.until(lambda: world.relay.sessions[line.id].end is way.protocol_error)


@BOTH_WAYS
def test_an_unknown_extension_may_use_every_bit_of_data_frames_but_none_of_control_frames(
    make_world: MakeWorld, way: Way
) -> None:
    world = make_world()
    line = world.open(rsv_first=0x70, rsv_continuation=0x70)
    sender, receiver = _peers(way, line)
    data = frame(TEXT, b"x", rsv=0x70, fin=False, key=way.key) + frame(CONTINUATION, rsv=0x30, key=way.key)
    sender.send(data)
    world.until(lambda: bytes(receiver.received) == data)
    sender.send(frame(PONG, rsv=0x40, key=way.key))
    world.until(lambda: world.relay.sessions[line.id].end is way.protocol_error)


# -- pieces ---------------------------------------------------------------------------------------


@BOTH_WAYS
@pytest.mark.parametrize("length", [0, 125, 126, 65535, 65536])
def test_a_header_may_be_cut_at_every_byte(make_world: MakeWorld, way: Way, length: int) -> None:  # 67
    world = make_world(unix=True)
    line = world.open()
    sender, receiver = _peers(way, line)
    data = frame(BINARY, b"x" * length, key=way.key)
    head = header(BINARY, length, key=way.key)
    for cut in range(1, len(head)):
        receiver.received.clear()
        sender.send(data[:cut])
        world.turn()
        assert bytes(receiver.received) == b""  # an unfinished header is held back
        sender.send(data[cut:])
        world.until(lambda: len(receiver.received) == len(data))
        assert bytes(receiver.received) == data


@BOTH_WAYS
def test_a_slow_body_passes_byte_for_byte_and_holds_nothing(make_world: MakeWorld, way: Way) -> None:  # 68
    world = make_world(unix=True)
    line = world.open(limit=1 << 31)
    sender, receiver = _peers(way, line)
    head = header(BINARY, 1 << 30, key=way.key)
    sender.send(head)
    world.turn()
    for _ in range(50):
        sender.send(b"x")
        world.turn()
    world.until(lambda: bytes(receiver.received) == head + b"x" * 50)
    assert line.stashed == 0


@BOTH_WAYS
def test_endless_fragments_hold_nothing(line: Line, way: Way) -> None:  # 70, 84
    world = line.world
    sender, receiver = _peers(way, line)
    fragments = frame(TEXT, b"", fin=False, key=way.key) + (
        frame(CONTINUATION, b"", fin=False, key=way.key) * 100_000
    )
    sender.send(fragments)
    world.until(lambda: len(receiver.received) == len(fragments))
    assert bytes(receiver.received) == fragments
    assert line.stashed == 0


def test_an_urgent_byte_is_not_part_of_the_stream(line: Line) -> None:  # 76
    world = line.world
    data = frame(TEXT, b"hello", key=KEY)
    line.browser.send(data[:5])
    line.browser.socket.send(b"!", socket.MSG_OOB)
    line.browser.send(data[5:])
    world.until(lambda: len(line.upstream.received) == len(data))
    assert bytes(line.upstream.received) == data


@pytest.mark.parametrize("at", [5, 100_000, 999_000], ids=["in-a-header", "in-a-frame", "near-its-end"])
@pytest.mark.parametrize("ends", [False, True], ids=["goes-on", "ends"])
def test_an_urgent_byte_in_a_large_frame_stops_nothing(
    make_world: MakeWorld, at: int, ends: bool
) -> None:  # 76, with the option that sessions have
    world = make_world()
    inline = (socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
    line = world.open(each_socket=lambda connection: connection.setsockopt(*inline))
    data = frame(BINARY, bytes(range(250)) * 4000, key=KEY)
    line.browser.send(data[:at])
    world.until(lambda: not line.browser.unsent)
    assert line.browser.socket.send(data[at : at + 1], socket.MSG_OOB) == 1
    if not ends:  # otherwise the end may be there before the urgent byte was read
        world.quiet()
    line.browser.send(data[at + 1 :])
    while line.browser.unsent:
        world.turn()
    if ends:
        line.browser.half_close()
    world.until(lambda: len(line.upstream.received) >= len(data))
    assert bytes(line.upstream.received[: len(data)]) == data


# -- ends in the middle ---------------------------------------------------------------------------


@BOTH_WAYS
@pytest.mark.parametrize("how", ["close", "reset"])
def test_an_end_inside_a_frame_drops_the_other_connection_without_a_close(
    line: Line, way: Way, how: str
) -> None:  # 77
    world = line.world
    sender, receiver = _peers(way, line)
    data = frame(BINARY, b"x" * 1000, key=way.key)[:500]
    sender.send(data)
    world.until(lambda: len(receiver.received) == 500)
    getattr(sender, how)()
    world.until(lambda: receiver.over)
    assert bytes(receiver.received) == data
    receiver.close()
    assert line.outcome().end == (End.CLIENT_ABORTED if way.key else End.UPSTREAM_ABORTED)


@BOTH_WAYS
@pytest.mark.parametrize("cut", [1, 3])
def test_an_end_inside_a_header_is_an_end_at_a_boundary(line: Line, way: Way, cut: int) -> None:
    # The unfinished header was never forwarded, so the other side can still be told.
    world = line.world
    sender, receiver = _peers(way, line)
    good = frame(TEXT, b"good", key=way.key)
    sender.send(good + frame(BINARY, b"x" * 200, key=way.key)[:cut])
    world.until(lambda: receiver.frames)
    sender.close()
    world.until(lambda: len(receiver.frames) == 2)
    assert [receiver.frames[0].raw, receiver.frames[1].code] == [good, 1001 if way.key else 1014]
