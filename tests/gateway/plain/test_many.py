"""Many plain requests at once: how many there may be, and that no two mix."""

from __future__ import annotations

import asyncio

from tests.gateway.plain_support import Peer, World, answer, request_head, until


async def test_a_request_beyond_the_bound_is_503_until_another_has_ended(world: World) -> None:
    arrived, go_on = asyncio.Semaphore(0), asyncio.Event()

    async def script(peer: Peer) -> None:
        while True:
            await peer.message()
            arrived.release()
            await go_on.wait()
            await peer.send(answer(body=b"ok"))

    front = await world.front(await world.upstream(script), limits={"maxHttpRequests": 2})
    holders = [await front.connect() for _ in range(2)]
    for peer in holders:
        await peer.send(request_head(b"/"))
        await arrived.acquire()
    late = await front.connect()
    refused = await late.request(b"/")
    assert (refused.status, refused.values(b"Retry-After")) == (503, [b"1"])
    assert front.in_flight == 2
    go_on.set()
    assert [(await peer.message()).status for peer in holders] == [200, 200]
    assert (await late.request(b"/")).body == b"ok"
    await until(lambda: front.in_flight == 0)
    assert (front.refused, front.failures) == (1, 0)


async def test_exchanges_never_mix(world: World) -> None:
    async def script(peer: Peer) -> None:
        while True:
            request = await peer.message()
            await peer.send(answer(b"X-Target: " + request.target, body=request.target * 1000 + request.body))

    front = await world.front(await world.upstream(script))

    async def browse(browser: int) -> None:
        peer = await front.connect()
        for number in range(20):
            target = b"/%d/%d" % (browser, number)
            body = b"%d" % (browser * number)
            await peer.send(request_head(target, b"Content-Length: %d" % len(body), method=b"POST") + body)
            got = await peer.message()
            assert got.value(b"X-Target") == target
            assert got.body == target * 1000 + body

    async with asyncio.TaskGroup() as browsers:
        for browser in range(20):
            browsers.create_task(browse(browser))
    assert front.failures == 0
    await until(lambda: front.requests == 400)
