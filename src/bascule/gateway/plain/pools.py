"""The upstreams of plain HTTP: pools of connections to them, and which of them speak HTTP/1.0."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from aiohttp import HttpVersion10

from bascule.gateway.plain.client import upstream_session

if TYPE_CHECKING:
    import ssl

    import aiohttp
    from aiohttp import HttpVersion

    from bascule.configuration.templates import UpstreamAddress
    from bascule.gateway.upstreams.fence import Fence

__all__ = ["UpstreamPools"]

_MOST_REMEMBERED: Final = 4096
"""Most upstreams remembered whose last answer was HTTP/1.0; beyond that the memory is emptied."""


class UpstreamPools:
    """Pools of connections, open between `start` and `close`.

    A request whose URL named the host gets no connection that was made for one whose host the operator
    named, and which no fence has seen.

    Args:
        connect_timeout: Seconds for a connection.
        tls: The TLS context for upstreams.
        fence: Says which addresses a host that a URL named may have.
    """

    def __init__(self, connect_timeout: float, tls: ssl.SSLContext, fence: Fence) -> None:
        self._connect_timeout = connect_timeout
        self._tls = tls
        self._fence = fence
        self._speak_http10: set[bytes] = set()
        self._fenced: aiohttp.ClientSession | None = None
        self.named: aiohttp.ClientSession | None = None
        """The pool for hosts that the operator named; ``None`` while there is none."""

    async def start(self) -> None:
        """Open the pools."""
        self.named = upstream_session(self._connect_timeout, self._tls)
        self._fenced = upstream_session(self._connect_timeout, self._tls, self._fence)

    async def close(self) -> None:
        """Close all connections."""
        pools, self.named, self._fenced = (self.named, self._fenced), None, None
        # All of them at once: whoever waits for the first may lose patience.
        await asyncio.gather(*(pool.close() for pool in pools if pool is not None))

    def to(self, upstream: UpstreamAddress) -> aiohttp.ClientSession:
        """Return the pool for an upstream."""
        pool = self._fenced if upstream.named_by_url else self.named
        assert pool is not None, "start() was not called"
        return pool

    def speaks_http10(self, upstream: UpstreamAddress) -> bool:
        """Tell whether an upstream's last answer was HTTP/1.0."""
        return upstream.authority in self._speak_http10

    def answered(self, upstream: UpstreamAddress, version: HttpVersion | None) -> None:
        """Remember in which version an upstream has answered."""
        if version != HttpVersion10:
            self._speak_http10.discard(upstream.authority)
            return
        if len(self._speak_http10) >= _MOST_REMEMBERED:
            self._speak_http10.clear()
        self._speak_http10.add(upstream.authority)
