"""JupyterHub's error pages, which offer to start a server that has stopped.

We ask the Hub like configurable-http-proxy: ``GET <errorTarget>/<status>?url=<target>``. Whatever the Hub
answers, the browser gets our status, and our fields except for those that describe the page.
If ``errorTarget`` leads back to us, our own mark in ``Via`` ends the loop.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

import aiohttp
from aiohttp import hdrs
from yarl import URL

from bascule.configuration.hubroute import read_target
from bascule.configuration.socketpath import UNIX_SCHEME
from bascule.gateway.listening.server import as_received

if TYPE_CHECKING:
    from bascule.policy.fieldlines import Fields

__all__ = ["HubPages"]

_PATIENCE: Final = 5.0
"""Seconds for a page; then the browser gets our own. The Hub makes one in some milliseconds."""

_MOST_BYTES: Final = 1 << 20
"""Longest page. JupyterHub's have about 10 KB."""

_KEPT: Final = (hdrs.CONTENT_TYPE, hdrs.CONTENT_ENCODING)

_LOOP: Final = 508
"""Our status for a request that has passed through this proxy before."""

_ASKED_WITH: Final = {hdrs.USER_AGENT: "bascule", hdrs.ACCEPT: "text/html", hdrs.ACCEPT_ENCODING: "identity"}
"""No encoding: we do not look at which ones the browser can decode."""


class HubPages:
    """Asks the Hub for error pages.

    Args:
        error_target: The Hub's URL, to whose path the status is added.
        via: Our element of ``Via``.
    """

    def __init__(self, error_target: str, via: bytes) -> None:
        address, path = read_target(error_target)
        self._base = f"{address.scheme}://{address.authority.decode()}{path.decode()}"
        self._fields = {**_ASKED_WITH, hdrs.VIA: via.decode()}
        if address.scheme == UNIX_SCHEME:
            self._fields[hdrs.HOST] = "localhost"  # a path is no host, and servers refuse it

    async def page(
        self, session: aiohttp.ClientSession, status: int, raw_target: str
    ) -> tuple[Fields, bytes] | None:
        """Return the fields and the body of a page; ``None`` if the Hub gives no usable one.

        Args:
            session: The pool of connections.
            status: The status that the browser gets.
            raw_target: The target that the browser asked for.

        Cancellation: safe.
        """
        url = URL(f"{self._base}/{status}?url={quote(raw_target, safe='')}", encoded=True)
        try:
            async with (
                asyncio.timeout(_PATIENCE),
                session.get(url, headers=self._fields, allow_redirects=False) as answer,
            ):
                body = await answer.content.read(_MOST_BYTES + 1)
                while not answer.content.at_eof() and len(body) <= _MOST_BYTES:
                    body += await answer.content.readany()
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
            return None
        # The page is sent with another status, so a browser would not follow a redirect.
        if 300 <= answer.status < 400 or answer.status == _LOOP or not 0 < len(body) <= _MOST_BYTES:
            return None
        fields = [
            (name.encode(), as_received(value))
            for name in _KEPT
            if (value := answer.headers.get(name)) is not None
        ]
        return [*fields, (b"Cache-Control", b"no-store")], body
