"""Connections of which one thing is expected, one epoll for all of them."""

from __future__ import annotations

import asyncio
import socket
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from bascule.gateway.connections.readiness import Readiness, WatchedLeg
from tests.support.waiting import eventually_async

if TYPE_CHECKING:
    from collections.abc import Iterator

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pairs() -> Iterator[list[Pair]]:
    with ExitStack() as stack:
        made = [socket.socketpair() for _ in range(3)]
        for ours, theirs in made:
            stack.enter_context(ours)
            stack.enter_context(theirs)
            ours.setblocking(False)
        yield made


async def waits_for(readiness: Readiness, number: int) -> None:
    await eventually_async(lambda: len(readiness._waiting) == number, 5, f"{number} are waited for")


async def test_each_reads_what_its_upstream_says(pairs: list[Pair]) -> None:
    readiness = Readiness()
    reads = [asyncio.ensure_future(WatchedLeg(readiness, ours).read()) for ours, _ in pairs]
    await waits_for(readiness, 3)
    for number in (2, 0, 1):
        pairs[number][1].send(b"%d" % number)
    assert await asyncio.wait_for(asyncio.gather(*reads), 5) == [b"0", b"1", b"2"]
    await waits_for(readiness, 0)


async def test_a_connection_can_be_read_again(pairs: list[Pair]) -> None:
    ours, theirs = pairs[0]
    leg = WatchedLeg(Readiness(), ours)
    for said in (b"one", b"two"):
        theirs.send(said)
        assert await asyncio.wait_for(leg.read(), 5) == said
    theirs.close()
    assert await asyncio.wait_for(leg.read(), 5) == b""


async def test_a_read_that_is_cancelled_leaves_the_others_and_its_connection_alone(pairs: list[Pair]) -> None:
    readiness = Readiness()
    leg = WatchedLeg(readiness, pairs[0][0])
    given_up, other = (
        asyncio.ensure_future(reading) for reading in (leg.read(), WatchedLeg(readiness, pairs[1][0]).read())
    )
    await waits_for(readiness, 2)
    given_up.cancel()
    await waits_for(readiness, 1)
    pairs[0][1].send(b"late")
    pairs[1][1].send(b"other")
    assert await asyncio.wait_for(other, 5) == b"other"
    assert await asyncio.wait_for(leg.read(), 5) == b"late"


async def test_a_read_that_is_cancelled_as_the_answer_comes_leaves_it_to_the_next(pairs: list[Pair]) -> None:
    ours, theirs = pairs[0]
    readiness = Readiness()
    leg = WatchedLeg(readiness, ours)
    reading = asyncio.ensure_future(leg.read())
    await waits_for(readiness, 1)
    theirs.send(b"answer")
    reading.cancel()
    readiness._look()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert await asyncio.wait_for(leg.read(), 5) == b"answer"


async def test_a_wake_up_for_nothing_is_waited_through(
    pairs: list[Pair], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = pairs[0]
    readiness = Readiness()
    wait, waits = readiness.wait, []

    async def wait_for_nothing_first(connection: socket.socket) -> None:
        waits.append(connection)
        if len(waits) > 1:
            await wait(connection)

    monkeypatch.setattr(readiness, "wait", wait_for_nothing_first)
    reading = asyncio.ensure_future(WatchedLeg(readiness, ours).read())
    await waits_for(readiness, 1)
    theirs.send(b"answer")
    assert await asyncio.wait_for(reading, 5) == b"answer"


async def test_an_interrupted_read_ends(pairs: list[Pair]) -> None:
    readiness = Readiness()
    leg = WatchedLeg(readiness, pairs[0][0])
    reading = asyncio.ensure_future(leg.read())
    await waits_for(readiness, 1)
    leg.interrupt()
    assert await asyncio.wait_for(reading, 5) == b""
