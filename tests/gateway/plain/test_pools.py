"""Which pool of connections an upstream's requests take, and what is remembered of the upstream."""

from __future__ import annotations

import asyncio
import ssl

import aiohttp
import pytest
from aiohttp import HttpVersion10, HttpVersion11

from bascule.configuration.templates import UpstreamAddress
from bascule.gateway.plain import pools as module
from bascule.gateway.plain.pools import UpstreamPools
from bascule.gateway.upstreams.fence import Fence


def new_pools() -> UpstreamPools:
    return UpstreamPools(1.0, ssl.create_default_context(), Fence(()))


def upstream(number: int = 0, *, named_by_url: bool = False) -> UpstreamAddress:
    return UpstreamAddress("http", "app", 8000 + number, b"app:%d" % (8000 + number), named_by_url)


async def test_a_host_that_a_url_named_shares_no_connection_with_one_that_the_operator_named() -> None:
    pools = new_pools()
    await pools.start()
    try:
        assert pools.to(upstream()) is pools.named
        assert pools.to(upstream(named_by_url=True)) is not pools.named
    finally:
        await pools.close()
    assert pools.named is None


async def test_all_pools_are_closed_though_nobody_waits_for_the_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Otherwise aiohttp complains of them at the end of the process."""
    pools = new_pools()
    await pools.start()
    both = [pools.to(upstream(named_by_url=each)) for each in (False, True)]
    never = asyncio.Event()
    close = aiohttp.ClientSession.close

    async def close_slowly(pool: aiohttp.ClientSession) -> None:
        await close(pool)
        await never.wait()

    monkeypatch.setattr(aiohttp.ClientSession, "close", close_slowly)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await pools.close()
    assert [pool.closed for pool in both] == [True, True]


def test_an_upstream_speaks_the_version_of_its_last_answer() -> None:
    pools = new_pools()
    for version, speaks_http10 in ((HttpVersion11, False), (HttpVersion10, True), (HttpVersion11, False)):
        pools.answered(upstream(), version)
        assert pools.speaks_http10(upstream()) is speaks_http10


def test_versions_are_remembered_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_REMEMBERED", 2)
    pools = new_pools()
    for number in range(3):
        pools.answered(upstream(number), HttpVersion10)
    assert [pools.speaks_http10(upstream(number)) for number in range(3)] == [False, False, True]
