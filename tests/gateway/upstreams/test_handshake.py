"""Asking an upstream for a session, and what it answers."""

from __future__ import annotations

import asyncio
import errno
import itertools
from typing import TYPE_CHECKING, Any

import pytest

from bascule.configuration.config import Config, Limits
from bascule.gateway.connections.legs import deadlines
from bascule.gateway.connections.readiness import Readiness, WatchedLeg
from bascule.gateway.upstreams import dialler as connections
from bascule.gateway.upstreams.dialler import NoRoom, Unreachable
from bascule.gateway.upstreams.handshake import Answered, Dial
from bascule.policy.routes import UpstreamAddress
from tests.gateway.upstreams.dialling import (
    OFFER,
    REFUSING,
    SILENT,
    SPEAKING,
    dialler_of,
    known,
    opening,
    refuse,
)
from tests.gateway.upstreams.fenced import resolve_to
from tests.support.descriptors import open_descriptors
from tests.support.processes import reserve_port

if TYPE_CHECKING:
    import socket

    from bascule.gateway.connections.legs import Deadline
    from bascule.gateway.connections.waits import Waits
    from bascule.gateway.upstreams.dialler import Dialler


async def trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Be an upstream whose answer is not all there yet."""
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 101 Switching Protocols\r\n")
    writer.close()


@pytest.fixture
def far_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each connect take a while, as to another node: the kernel is not asked again at once."""

    def begun(connection: socket.socket, where: Any) -> bool:
        assert connection.connect_ex(where) == errno.EINPROGRESS
        return False

    monkeypatch.setattr(connections, "begin_connect", begun)


async def begun(dialler: Dialler, port: int) -> tuple[Dial, asyncio.Event]:
    """Begin a handshake that takes no task with an upstream that was looked up; the event says: hear it."""
    dial, arrived = Dial(dialler, await known(dialler, port), b"/", [], OFFER), asyncio.Event()
    assert dial.begin(arrived.set)
    return dial, arrived


@pytest.mark.usefixtures("far_away")
async def test_a_connection_that_takes_a_while_is_waited_for_without_a_task(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    resolve_to(monkeypatch, SPEAKING)
    port = reserve_port()
    async with await asyncio.start_server(refuse, SPEAKING, port):
        dialler = dialler_of(Config())
        dial, arrived = await begun(dialler, port)
        await arrived.wait()
        with pytest.raises(BlockingIOError):  # it is established, and was asked
            dial.hear()
        assert not any(dialler.connect_deadlines.values())
        arrived.clear()
        await arrived.wait()
        assert dial.hear() is None  # a 404 is up to `finish`
        answered = await dial.finish()
        assert isinstance(answered, Answered)
        assert answered.head.status == 404
        answered.leg.close()
        assert not dialler.deadlines


@pytest.mark.usefixtures("far_away")
async def test_one_that_is_refused_after_a_while_is_told_as_one_that_is_refused_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    resolve_to(monkeypatch, SPEAKING)
    dialler = dialler_of(Config())
    dial, arrived = await begun(dialler, reserve_port())
    await arrived.wait()
    assert dial.hear() is None
    with pytest.raises(Unreachable, match=r"^connect failed: ECONNREFUSED$"):
        await dial.finish()
    assert not any(dialler.connect_deadlines.values())


async def test_one_that_says_nothing_is_given_up_in_time_without_a_task(
    monkeypatch: pytest.MonkeyPatch, silent_port: int
) -> None:
    resolve_to(monkeypatch, SILENT)
    dialler = dialler_of(Config(limits=Limits(connect_timeout=0.1)))
    dial, arrived = await begun(dialler, silent_port)
    await arrived.wait()
    assert dial.hear() is None
    with pytest.raises(Unreachable, match=r"^connect timed out$"):
        await dial.finish()


async def test_one_that_nobody_waits_for_any_more_is_closed(
    monkeypatch: pytest.MonkeyPatch, silent_port: int
) -> None:
    resolve_to(monkeypatch, SILENT)
    dialler = dialler_of(Config(limits=Limits(connect_timeout=0.1)))
    before = open_descriptors()  # which takes a while: an answer that led nowhere is remembered for a second
    address = await known(dialler, silent_port)
    dial = Dial(dialler, address, b"/", [], OFFER)
    assert dial.begin(lambda: None)
    dial.give_up()
    assert open_descriptors() == before
    assert not any(dialler.connect_deadlines.values())


@pytest.mark.usefixtures("far_away")
async def test_the_first_of_several_addresses_is_waited_for_without_a_task(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As of a service that leads to each of its pods."""
    resolve_to(monkeypatch, SPEAKING, *[SILENT] * 9)
    port = reserve_port()
    async with await asyncio.start_server(refuse, SPEAKING, port):
        dialler = dialler_of(Config())
        dial, arrived = await begun(dialler, port)
        await arrived.wait()
        with pytest.raises(BlockingIOError):
            dial.hear()
        dial.give_up()
        assert not any(dialler.connect_deadlines.values())


async def test_an_address_that_refuses_at_once_makes_way_for_the_next_without_a_task(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As ``localhost`` does where the upstream has no IPv6."""
    resolve_to(monkeypatch, REFUSING, SPEAKING)
    port = reserve_port()
    async with await asyncio.start_server(refuse, SPEAKING, port):
        dialler = dialler_of(Config())
        dial = Dial(dialler, await known(dialler, port), b"/", [], OFFER)
        assert dial.begin(lambda: None)
        dial.give_up()


@pytest.mark.parametrize("others", [[SPEAKING], [REFUSING, SPEAKING], [SPEAKING] * 99])
@pytest.mark.parametrize("first", [REFUSING, SILENT])
@pytest.mark.usefixtures("far_away")
async def test_behind_one_that_was_waited_for_the_others_have_their_share_of_the_time(
    monkeypatch: pytest.MonkeyPatch, silent_port: int, first: str, others: list[str]
) -> None:
    given: list[float] = []

    def noted(seconds: float) -> Waits[Deadline]:
        given.append(seconds)
        return deadlines(seconds)

    resolve_to(monkeypatch, first, *others)
    async with await asyncio.start_server(refuse, SPEAKING, silent_port):
        dialler = dialler_of(Config(limits=Limits(connect_timeout=1.0)))
        monkeypatch.setattr(connections, "deadlines", noted)
        dial, arrived = await begun(dialler, silent_port)
        await arrived.wait()
        assert dial.hear() is None
        answered = await dial.finish()
        assert isinstance(answered, Answered)
        assert answered.head.status == 404
        answered.leg.close()
    assert given, "the first is waited for"
    assert max(given) <= 0.5, "it had not all of the time"


@pytest.mark.usefixtures("far_away")
@pytest.mark.parametrize(
    ("places", "what"),
    [((REFUSING, SILENT), "timed out"), ((SILENT, REFUSING), "failed: ECONNREFUSED")],
)
async def test_several_that_all_fail_are_told_as_the_last(
    monkeypatch: pytest.MonkeyPatch, silent_port: int, places: tuple[str, ...], what: str
) -> None:
    dialler = dialler_of(Config(limits=Limits(connect_timeout=0.4)))
    address = UpstreamAddress("http", "apps", silent_port, b"apps")
    resolve_to(monkeypatch, *places)
    for _ in range(2):  # the second time the name is known
        with pytest.raises(Unreachable, match=f"^connect {what}$"):
            await opening(dialler, address, b"/", [], OFFER)


@pytest.mark.usefixtures("far_away")
async def test_a_connection_that_epoll_does_not_take_is_not_the_upstreams_fault(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    resolve_to(monkeypatch, SPEAKING)
    dialler = dialler_of(Config())
    address = await known(dialler, reserve_port())

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no watches")

    monkeypatch.setattr(WatchedLeg, "expect_connected", full)
    dial = Dial(dialler, address, b"/", [], OFFER)
    assert not dial.begin(lambda: None)
    with pytest.raises(NoRoom, match=r"^connect failed: ENOSPC$"):
        await dial.finish()


@pytest.mark.parametrize("taken", [0, 1])
async def test_an_answer_that_epoll_does_not_wait_for_is_not_the_upstreams_fault(
    monkeypatch: pytest.MonkeyPatch, taken: int
) -> None:
    """Neither at once nor, where the handshake was handed to a task, when that waits."""
    resolve_to(monkeypatch, SPEAKING)
    expect, asked = Readiness.expect, itertools.count()

    def full(readiness: Readiness, *what: Any) -> None:
        if next(asked) >= taken:
            raise OSError(errno.ENOSPC, "no watches")
        expect(readiness, *what)

    async with await asyncio.start_server(trickle, SPEAKING, 0) as server:
        dialler = dialler_of(Config())
        address = UpstreamAddress("http", "apps", server.sockets[0].getsockname()[1], b"apps")
        await dialler._resolver.resolve("apps", address.port)
        monkeypatch.setattr(Readiness, "expect", full)
        with pytest.raises(NoRoom, match=r"^handshake failed: ENOSPC$"):
            await opening(dialler, address, b"/", [], OFFER)


async def test_a_fault_of_ours_while_an_answer_is_read_leaves_nothing_watched(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    resolve_to(monkeypatch, SPEAKING)
    async with await asyncio.start_server(refuse, SPEAKING, 0) as server:
        dialler = dialler_of(Config())
        dial, arrived = await begun(dialler, server.sockets[0].getsockname()[1])
        await arrived.wait()
        monkeypatch.setattr(dialler, "longest_head", None)
        with pytest.raises(TypeError):
            dial.hear()
        dial.give_up()
        assert not dialler._readiness._waiting
        assert not dialler.deadlines


async def test_an_answer_that_comes_as_time_runs_out_comes_too_late(monkeypatch: pytest.MonkeyPatch) -> None:
    resolve_to(monkeypatch, SPEAKING)
    dialler = dialler_of(Config())
    read = WatchedLeg.read_now

    def read_late(leg: WatchedLeg) -> bytes:
        for deadline in dialler.deadlines:
            deadline.expire()
        return read(leg)  # the kernel gives what has come, though the connection is shut down

    monkeypatch.setattr(WatchedLeg, "read_now", read_late)
    async with await asyncio.start_server(refuse, SPEAKING, 0) as server:
        address = UpstreamAddress("http", "apps", server.sockets[0].getsockname()[1], b"apps")
        for _ in range(2):  # the second time the name is known
            with pytest.raises(Unreachable, match="handshake timed out"):
                await opening(dialler, address, b"/", [], OFFER)


@pytest.mark.parametrize("how", ["end", "reset"])
async def test_an_upstream_that_ends_before_it_answers_has_reset_the_connection(
    how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve_to(monkeypatch, SPEAKING)

    async def leave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if how == "reset":
            writer.transport.abort()
        writer.close()

    dialler = dialler_of(Config())
    async with await asyncio.start_server(leave, SPEAKING, 0) as server:
        address = UpstreamAddress("http", "apps", server.sockets[0].getsockname()[1], b"apps")
        for _ in range(2):  # the second time the name is known
            with pytest.raises(Unreachable, match=r"^handshake failed: ECONNRESET$"):
                await opening(dialler, address, b"/", [], OFFER)
