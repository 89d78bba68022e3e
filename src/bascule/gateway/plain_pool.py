"""Kept-alive connections to upstreams, for plain requests; one on which something came unasked is not used.

aiohttp looks at that when a connection comes back, not when it goes out again: an answer that
an upstream sent meanwhile would be taken for the answer to the next request, which is
somebody else's (response-queue poisoning).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import aiohttp

if TYPE_CHECKING:
    from aiohttp.client_reqrep import ConnectionKey
    from aiohttp.connector import Connection
    from aiohttp.tracing import Trace


class UpstreamPool(aiohttp.TCPConnector):
    """aiohttp's pool, without connections that have spoken out of turn."""

    async def _get(self, key: ConnectionKey, traces: list[Trace]) -> Connection | None:
        """Return a connection that waits for its next request; ``None`` when there is none."""
        while (connection := await super()._get(key, traces)) is not None:
            assert connection.protocol is not None
            if not connection.protocol.should_close:
                return connection
            connection.close()
        return None
