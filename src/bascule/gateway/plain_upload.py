"""The body of a plain request on its way to the upstream."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from bascule.gateway.giveway import give_way

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp import web

    from bascule.gateway.plain_response import BrowserSide


class Upload:
    """The body of a request on its way to the upstream, and the patience for the answer.

    The deadline for the answer's head runs anew with each part of the body, so that
    an upload may take as long as it moves.

    Args:
        request: Whose body it is.
        browser: Invites it.
        invite: Whether the browser waits for an invitation.

    Attributes:
        waits_for_browser: Whether the next part is the browser's to send.
    """

    __slots__ = ("_browser", "_deadline", "_invite", "_patience", "_request", "waits_for_browser")

    def __init__(self, request: web.BaseRequest, browser: BrowserSide, invite: bool) -> None:
        self._request = request
        self._browser = browser
        self._invite = invite
        self._deadline: asyncio.Timeout | None = None
        self._patience = 0.0
        self.waits_for_browser = False

    def watch(self, deadline: asyncio.Timeout | None, patience: float) -> None:
        """Push this deadline back whenever the body moves; ``None`` when the head is there."""
        self._deadline = deadline
        self._patience = patience

    async def parts(self) -> AsyncIterator[bytes]:
        """Yield the body as it arrives, without its chunk sizes and trailers."""
        if self._invite:
            await self._browser.invite_body()
        content = self._request.content
        loop = asyncio.get_running_loop()
        part = content.read_nowait()
        # The first part may be empty: it sends the head, which aiohttp holds back for it.
        yield part
        while True:
            self.waits_for_browser = True
            part = await content.readany()
            self.waits_for_browser = False
            if self._deadline is not None and self._patience:
                self._deadline.reschedule(loop.time() + self._patience)
            if not part:
                return
            give_way(len(part))
            yield part
