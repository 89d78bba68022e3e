"""One test for every row of the close table: what ends the session, and what each side is told.

Each scenario brings a session to its end; the checks are common to all rows: the Close each side got is
the row's, the report and the counters say the row's words, both connections are closed, and nothing is
left in the relay.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from bascule.handover.counters import ForwarderWord
from bascule.handover.messages import Adopt
from bascule.protocol.closing import CLOSE_TABLE, End
from tests.support.frames import CLOSE, KEY, TEXT, close, frame, header
from tests.support.relaying import Line, World

if TYPE_CHECKING:
    from tests.forwarder.conftest import MakeWorld
    from tests.support.farends import Peer

LIMIT = 1000

Scenario = Callable[[World, Line], None]


def _client_closed(world: World, line: Line) -> None:
    line.browser.send(close(4001, b"bye", KEY))
    world.until(lambda: line.upstream.frames)
    line.upstream.send(close(4001, b"bye"))
    world.until(lambda: line.browser.frames)
    line.upstream.close()
    world.until(lambda: line.browser.over)
    line.browser.close()


def _upstream_closed(world: World, line: Line) -> None:
    line.upstream.send(close(3005, b"done"))
    world.until(lambda: line.browser.frames)
    line.browser.send(close(3005, b"done", KEY))
    world.until(lambda: line.upstream.frames)
    line.upstream.close()
    world.until(lambda: line.browser.over)
    line.browser.close()


def _client_aborted(world: World, line: Line) -> None:
    line.browser.close()
    world.until(lambda: line.upstream.frames)
    line.upstream.send(close(1001))
    line.upstream.close()


def _upstream_aborted(world: World, line: Line) -> None:
    line.upstream.close()
    world.until(lambda: line.browser.frames)
    line.browser.send(close(1014, key=KEY))
    line.browser.close()


def _client_timeout(world: World, line: Line) -> None:
    line.browser.stalled = True
    line.upstream.send(frame(TEXT, b"x" * LIMIT) * 2000)
    world.until(lambda: line.upstream.frames)
    line.upstream.close()


def _upstream_timeout(world: World, line: Line) -> None:
    line.upstream.stalled = True
    line.browser.send(frame(TEXT, b"x" * LIMIT, key=KEY) * 2000)
    world.until(lambda: line.browser.frames)
    line.browser.send(close(1014, key=KEY))
    line.browser.close()


def _client_silent(world: World, line: Line) -> None:
    world.later(101.0)
    line.upstream.send(frame(TEXT, b"anybody there?"))
    world.until(lambda: line.browser.frames[-1].opcode == TEXT)
    world.later(61.0)
    _both_answer(world, line)


def _client_protocol_error(world: World, line: Line) -> None:
    line.browser.send(frame(TEXT, b"unmasked"))
    _both_answer(world, line)


def _upstream_protocol_error(world: World, line: Line) -> None:
    line.upstream.send(frame(TEXT, b"masked", key=KEY))
    _both_answer(world, line)


def _client_too_big(world: World, line: Line) -> None:
    line.browser.send(header(TEXT, LIMIT + 1, key=KEY))
    _both_answer(world, line)


def _upstream_too_big(world: World, line: Line) -> None:
    line.upstream.send(header(TEXT, LIMIT + 1))
    _both_answer(world, line)


def _idle(world: World, line: Line) -> None:
    world.later(1001.0)
    _both_answer(world, line)


def _drain(world: World, line: Line) -> None:
    world.relay.end(line.id, End.DRAIN)
    _both_answer(world, line)


def _admin(world: World, line: Line) -> None:
    world.relay.end(line.id, End.ADMIN)
    _both_answer(world, line)


def _expired(world: World, line: Line) -> None:
    world.relay.end(line.id, End.EXPIRED)
    _both_answer(world, line)


def _both_answer(world: World, line: Line) -> None:
    """Both peers are told something, answer, and leave."""
    world.until(lambda: line.browser.frames and line.upstream.frames, "both are told")
    line.browser.send(close(line.browser.frames[-1].code, key=KEY))
    line.upstream.send(close(line.upstream.frames[-1].code))
    world.until(lambda: line.browser.over and line.upstream.over, "both connections are ended")
    line.browser.close()
    line.upstream.close()


SCENARIOS: dict[End, Scenario] = {
    End.CLIENT_CLOSED: _client_closed,
    End.UPSTREAM_CLOSED: _upstream_closed,
    End.CLIENT_ABORTED: _client_aborted,
    End.UPSTREAM_ABORTED: _upstream_aborted,
    End.CLIENT_TIMEOUT: _client_timeout,
    End.CLIENT_SILENT: _client_silent,
    End.UPSTREAM_TIMEOUT: _upstream_timeout,
    End.CLIENT_PROTOCOL_ERROR: _client_protocol_error,
    End.UPSTREAM_PROTOCOL_ERROR: _upstream_protocol_error,
    End.CLIENT_TOO_BIG: _client_too_big,
    End.UPSTREAM_TOO_BIG: _upstream_too_big,
    End.IDLE: _idle,
    End.DRAIN: _drain,
    End.ADMIN: _admin,
    End.EXPIRED: _expired,
}

TIMEOUTS = (End.CLIENT_TIMEOUT, End.UPSTREAM_TIMEOUT)

PASSED_ON = {End.CLIENT_CLOSED: (4001, b"bye"), End.UPSTREAM_CLOSED: (3005, b"done")}
"""What the peer said, and so what the report says."""


def test_every_row_is_tested() -> None:
    # The first has no connections that anything could happen to. The second is nothing a forwarder can do:
    # tests/faults kills one.
    assert set(SCENARIOS) == set(End) - {End.NO_DESCRIPTORS, End.FORWARDER_LOST}


def test_a_session_without_its_connections_is_counted_and_reported(make_world: MakeWorld) -> None:
    world = make_world()
    opened_at = time.monotonic()
    world.relay.give_back(Adopt(7, 0, 0, 0, opened_at, LIMIT, b"tag", b"101", b"", b""))
    (ended,) = world.reports
    assert (ended.id, ended.end, ended.code, ended.tag) == (7, End.NO_DESCRIPTORS, 0, b"tag")
    assert ended.reason == b"no descriptors left"
    row = CLOSE_TABLE[End.NO_DESCRIPTORS]
    assert (row.to_browser, row.to_upstream) == (None, None)
    assert world.ended_as(End.NO_DESCRIPTORS) == 1


def test_a_session_that_epoll_does_not_take_ends_alone(make_world: MakeWorld) -> None:
    world = make_world()
    other = world.open(limit=LIMIT)
    browser, their_browser = socket.socketpair()
    upstream, their_upstream = socket.socketpair()
    world.engine.watch(upstream.fileno(), object())  # it is taken, and not a second time
    adopted = Adopt(7, 0, 0, 0, time.monotonic(), LIMIT, b"tag", b"101", b"", b"")
    world.relay.adopt(adopted, browser.detach(), upstream.detach())
    (ended,) = world.reports
    assert (ended.id, ended.end, ended.reason) == (7, End.NO_DESCRIPTORS, b"EEXIST")
    with their_browser, their_upstream:
        assert their_browser.recv(10) == their_upstream.recv(10) == b""
    assert world.word(ForwarderWord.OPEN) == 1
    other.upstream.send(frame(TEXT, b"on"))
    world.until(lambda: len(other.browser.frames) == 1)


def _impatient(connection: socket.socket) -> None:
    """Make TCP give up on a peer that takes nothing, after a moment instead of a minute."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 300)


def _run(make_world: MakeWorld, end: End) -> tuple[World, Line]:
    world = make_world(idle=1000.0, heartbeat=100.0, pong=60.0)
    if end in TIMEOUTS:
        line = world.open(limit=LIMIT, receive=4096, send=4608, each_socket=_impatient)
    else:
        line = world.open(limit=LIMIT)
    SCENARIOS[end](world, line)
    world.until(lambda: line.ended, "the session ends")
    return world, line


ROWS = pytest.mark.parametrize("end", list(SCENARIOS), ids=lambda end: end.name.lower())


@ROWS
def test_each_side_is_told_what_the_row_says_and_the_end_is_counted_under_it(
    make_world: MakeWorld, end: End
) -> None:
    row = CLOSE_TABLE[end]
    world, line = _run(make_world, end)

    def told(peer: Peer) -> list[tuple[int | None, bytes]]:
        return [(said.code, said.reason) for said in peer.frames if said.opcode == CLOSE]

    def expected(code: int | None, reason: str) -> list[tuple[int | None, bytes]]:
        if end in PASSED_ON:
            return [PASSED_ON[end]]
        return [(code, reason.replace("{limit}", str(LIMIT)).encode())] if code else []

    assert told(line.browser) == expected(row.to_browser, row.browser_reason)
    assert told(line.upstream) == expected(row.to_upstream, row.upstream_reason)
    assert line.ended is not None
    code, reason = PASSED_ON.get(
        end, (int(row.to_browser or 0), row.browser_reason.replace("{limit}", str(LIMIT)).encode())
    )
    assert (line.ended.end, line.ended.code, line.ended.reason) == (end, code, reason)
    assert world.ended_as(end) == 1
    assert [world.word(word) for word in (ForwarderWord.OPEN, ForwarderWord.STASHED_BYTES)] == [0, 0]
    assert world.relay.sessions == {}
    assert len(world.reports) == 1


@ROWS
def test_every_close_towards_the_upstream_is_masked_and_towards_the_browser_is_not(
    make_world: MakeWorld, end: End
) -> None:
    _, line = _run(make_world, end)
    assert all(said.key is None for said in line.browser.frames)
    assert all(said.key is not None for said in line.upstream.frames if said.opcode == CLOSE)
