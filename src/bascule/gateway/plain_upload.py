"""The body of a plain request on its way to the upstream."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

from bascule.gateway.giveway import give_way

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp import web

    from bascule.gateway.plain_response import BrowserSide


_INVITATION: Final = 1.0
"""Seconds for which the upstream may take to invite a body, as with curl (RFC 9110 §10.1.1: not for ever)."""


class Upload:
    """The body of a request on its way to the upstream, and the patience for the answer.

    The deadline for the answer's head runs anew with each part of the body, so that
    an upload may take as long as it moves. A browser that waits for an invitation
    (``Expect: 100-continue``) gets the upstream's, or after a second ours; what it sends
    without one is on its way at once.

    Args:
        request: Whose body it is.
        browser: Invites it.
        expects: Whether the browser waits for an invitation.
        upstream_invites: Whether the upstream is asked for one.
    """

    __slots__ = ("_asks", "_browser", "_deadline", "_expects", "_patience", "_reads", "_request")

    def __init__(
        self, request: web.BaseRequest, browser: BrowserSide, expects: bool, upstream_invites: bool
    ) -> None:
        self._request = request
        self._browser = browser
        self._expects = expects
        self._asks = upstream_invites
        self._deadline: asyncio.Timeout | None = None
        self._patience = 0.0
        self._reads = False

    @property
    def waits_for_browser(self) -> bool:
        """Whether the next part is the browser's to send."""
        return self._reads and (self._browser.invited or not self._expects)

    def watch(self, deadline: asyncio.Timeout | None, patience: float) -> None:
        """Push this deadline back whenever the body moves; ``None`` when the head is there."""
        self._deadline = deadline
        self._patience = patience

    async def invite(self) -> None:
        """Ask the browser for the body, if it waits for that."""
        if self._expects:
            await self._browser.invite_body()

    async def parts(self) -> AsyncIterator[bytes]:
        """Yield the body as it arrives, without its chunk sizes and trailers."""
        content = self._request.content
        loop = asyncio.get_running_loop()
        part = content.read_nowait()
        # The first part may be empty: it sends the head, which aiohttp holds back for it.
        yield part
        while True:
            self._expects = self._expects and not part
            self._reads = True
            part = await (self._invited() if self._expects else content.readany())
            self._reads = False
            if self._deadline is not None and self._patience:
                self._deadline.reschedule(loop.time() + self._patience)
            if not part:
                return
            give_way(len(part))
            yield part

    async def _invited(self) -> bytes:
        """Return the first part of a body whose browser may wait for an invitation."""
        content = self._request.content
        if self._asks:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_INVITATION):
                    return await content.readany()
        await self.invite()
        return await content.readany()
