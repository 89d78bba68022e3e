"""Large bodies give the processor away, between one piece and the next."""

from __future__ import annotations

import os

import pytest

from tests.gateway.plain_support import World, answer, request_head
from tests.support.waiting import eventually_async


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """What grows with each time that the processor is given away."""
    times: list[None] = []
    monkeypatch.setattr(os, "sched_yield", lambda: times.append(None))
    return times


async def test_a_download_gives_way_and_a_page_does_not(world: World, given: list[None]) -> None:
    front = await world.front(await world.repeating(answer(body=b"page")))
    await front.request(b"/")
    assert len(given) == 1, "for its connection"
    front = await world.front(await world.repeating(answer(body=bytes(1_000_000))))
    given.clear()
    assert len((await front.request(b"/")).body) == 1_000_000
    assert len(given) > 1


async def test_an_upload_gives_way(world: World, given: list[None]) -> None:
    front = await world.front(await world.repeating(answer()))
    peer = await front.connect()
    await eventually_async(lambda: bool(given), 5, "the connection is accepted")
    given.clear()
    await peer.send(request_head(b"/", b"Content-Length: 1000000", method=b"POST") + bytes(1_000_000))
    assert (await peer.message()).status == 200
    assert given
