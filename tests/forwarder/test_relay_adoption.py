"""The first bytes of a session: those that the gateway had read, and its answer to the handshake."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from bascule.handover.counters import ForwarderWord
from tests.support.frames import BINARY, KEY, PING, TEXT, close, frame

if TYPE_CHECKING:
    from tests.forwarder.conftest import MakeWorld
    from tests.support.relaying import Line


ANSWER = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"


def _reset_by_its_peer(connection: socket.socket) -> None:
    connection.shutdown(socket.SHUT_RDWR)


def test_bytes_the_gateway_had_read_come_first(make_world: MakeWorld) -> None:  # I12
    world = make_world()
    early_in, early_out = frame(TEXT, b"early", key=KEY), frame(TEXT, b"first")
    line = world.open(inbound=early_in, outbound=early_out)
    line.browser.send(frame(TEXT, b"later", key=KEY))
    line.upstream.send(frame(TEXT, b"second"))
    world.until(lambda: len(line.browser.frames) == len(line.upstream.frames) == 2)
    assert [found.payload for found in line.upstream.frames] == [b"early", b"later"]
    assert [found.payload for found in line.browser.frames] == [b"first", b"second"]


def test_the_answer_to_the_handshake_goes_out_ahead_of_every_frame(make_world: MakeWorld) -> None:
    world = make_world()
    line = world.open(answer=ANSWER, outbound=frame(TEXT, b"first"))
    line.upstream.send(frame(TEXT, b"second"))
    expected = ANSWER + frame(TEXT, b"first") + frame(TEXT, b"second")
    world.until(lambda: bytes(line.browser.received) == expected)


def test_an_answer_that_is_not_taken_at_once_stays_ahead_of_the_frames(make_world: MakeWorld) -> None:
    world = make_world(window=4096, heartbeat=0.01)
    answer, first = ANSWER[:-2] + b"X-Long: " + b"x" * 60_000 + b"\r\n\r\n", frame(BINARY, b"y" * 10_000)
    line = world.open(answer=answer, outbound=first, send=4096, receive=4096)
    assert world.word(ForwarderWord.STASHED_BYTES) > 0
    world.later(0.02)  # a heartbeat is due, and waits
    line.upstream.send(frame(TEXT, b"second"))
    whole = answer + first
    world.until(lambda: bytes(line.browser.received[: len(whole)]) == whole)
    world.until(lambda: frame(TEXT, b"second") in line.browser.received[len(whole) :])
    assert world.word(ForwarderWord.STASHED_BYTES) == 0


def test_an_answer_to_a_browser_that_has_gone_ends_the_session(make_world: MakeWorld) -> None:
    world = make_world()
    line = world.open(answer=ANSWER, outbound=frame(TEXT, b"x"), each_socket=_reset_by_its_peer)
    world.until(lambda: line.ended)


def test_early_bytes_may_end_inside_a_header(make_world: MakeWorld) -> None:
    world = make_world()
    data = frame(BINARY, b"x" * 300, key=KEY)
    line = world.open(inbound=data[:3])
    line.browser.send(data[3:])
    world.until(lambda: bytes(line.upstream.received) == data)


def test_a_ping_in_the_early_bytes_is_answered(make_world: MakeWorld) -> None:
    world = make_world()
    line = world.open(outbound=frame(PING, b"already"))
    world.until(lambda: line.upstream.frames)
    assert line.upstream.frames[0].payload == b"already"


def test_early_bytes_up_to_their_bound_pass(make_world: MakeWorld) -> None:
    world = make_world(window=4096)
    data = frame(BINARY, b"x" * (65536 - 14), key=KEY)
    line = world.open(inbound=data)
    world.until(lambda: bytes(line.upstream.received) == data)


def test_a_fault_in_the_early_bytes_ends_the_session(make_world: MakeWorld) -> None:
    world = make_world()
    line = world.open(inbound=frame(TEXT, b"unmasked"), outbound=frame(TEXT, b"hello"))
    world.until(lambda: len(line.browser.frames) == 2 and line.upstream.frames)
    assert [line.browser.frames[1].code, line.upstream.frames[0].code] == [1002, 1001]


def test_a_close_in_the_early_bytes_passes(make_world: MakeWorld) -> None:
    world = make_world()
    line = world.open(outbound=close(4000, b"no"))
    world.until(lambda: line.browser.frames)
    assert line.browser.frames[0].code == 4000


def test_a_peer_that_is_gone_before_its_adoption_ends_the_session(line: Line) -> None:
    world = line.world
    line.browser.reset()
    world.until(lambda: line.upstream.frames)
    line.upstream.close()
    world.until(lambda: line.ended)
