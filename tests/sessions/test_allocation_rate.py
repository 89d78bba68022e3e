"""What the forwarders request from the allocator shows where it can be known, and is 0 where it cannot."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.support.rawclient import connected
from tests.support.relaying import build_of
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from tests.conftest import Start
    from tests.support.bascule import RunningBascule
    from tests.support.rawupstream import RawUpstream

RATE: Final = "ws_pool_alloc_bytes_per_second"


def under_load(bascule: Start, upstream: RawUpstream, **env: str) -> RunningBascule:
    """Start a proxy, and open and end sessions until its forwarder's CPU shows in the pool's figures."""
    routes = [{"name": "all", "path": "/", "upstream": upstream.url}]
    proxy = bascule({"routes": routes, "forwarders": {"count": 1}}, **env)

    def works() -> bool:
        with connected(proxy.public_url) as client:
            client.open()
            client.say(bytes(1 << 16))
            client.reply()
        return proxy.metric("ws_pool_cpu_cores") > 0

    eventually(works, 20, "its work shows")
    return proxy


def test_the_compiled_build_shows_what_it_requests(bascule: Start, upstream: RawUpstream) -> None:
    build_of("compiled")
    proxy = under_load(bascule, upstream)
    assert proxy.metric("bascule_build_info", hot_path="compiled") == 1
    eventually(lambda: proxy.metric(RATE) > 0, 10, "the rate shows")


def test_the_pure_build_shows_0(bascule: Start, upstream: RawUpstream) -> None:
    proxy = under_load(bascule, upstream, BASCULE_PURE="1")
    assert proxy.metric("bascule_build_info", hot_path="pure") == 1
    assert proxy.metric(RATE) == 0
