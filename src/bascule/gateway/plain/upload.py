"""The body of a plain request on its way to the upstream."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

from bascule.gateway.connections.giveway import give_way_after

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from aiohttp import web

    from bascule.gateway.connections.patience import Patience
    from bascule.gateway.plain.response import BrowserSide

__all__ = ["Upload"]


_MOST_KEPT: Final = 65536
"""Most bytes of a body that are kept, until the answer begins, for the case that the upstream takes none."""

_INVITATION: Final = 1.0
"""Seconds that an upstream may take to invite a body, as with curl (RFC 9110 §10.1.1: not for ever)."""


class Upload:
    """The body of a request on its way to the upstream, and the patience for the answer.

    Each part of the body starts the deadline for the answer's head anew, so an upload may
    take long as long as it moves. A browser that waits for an invitation
    (``Expect: 100-continue``) gets the upstream's, or after a second ours; what it sends
    without an invitation is forwarded at once.

    Args:
        request: The request with that body.
        browser: Sends the invitation.
        expects: Whether the browser waits for an invitation.
        upstream_invites: Whether the upstream may send one.
        on_part: Called for each part of the body that has arrived.
    """

    __slots__ = (
        "_asks", "_browser", "_expects", "_given", "_on_part", "_patience", "_reads", "_request",
    )  # fmt: skip

    def __init__(
        self,
        request: web.BaseRequest,
        browser: BrowserSide,
        expects: bool,
        upstream_invites: bool,
        on_part: Callable[[], None],
    ) -> None:
        self._request = request
        self._browser = browser
        self._expects = expects
        self._asks = upstream_invites
        self._on_part = on_part
        self._patience: Patience | None = None
        self._reads = False
        self._given: bytearray | None = bytearray()

    @property
    def waits_for_browser(self) -> bool:
        """Whether we wait for the browser to send the next part."""
        return self._reads and (self._browser.invited or not self._expects)

    def watch(self, patience: Patience | None) -> None:
        """Let the time for the answer's head begin anew with each part; ``None`` once the head is there."""
        self._patience = patience
        if patience is None:
            self._given = None

    @property
    def can_begin_anew(self) -> bool:
        """Whether all that `parts` has yielded is still there; called again, it begins with that."""
        return self._given is not None

    def _give(self, part: bytes) -> bytes:
        """Keep a part for a second try, as long as all of them together are short."""
        if self._given is not None:
            if len(self._given) + len(part) > _MOST_KEPT:
                self._given = None
            else:
                self._given += part
        return part

    async def invite(self) -> None:
        """Ask the browser for the body, if it waits for that."""
        if self._expects:
            await self._browser.invite_body()

    async def parts(self) -> AsyncIterator[bytes]:
        """Yield the body as it arrives, without its chunk sizes and trailers."""
        content = self._request.content
        part = bytes(self._given or b"")
        if more := content.read_nowait():
            self._on_part()
        part += self._give(more)
        # The first part may be empty: aiohttp sends the head only together with it.
        yield part
        while True:
            self._expects = self._expects and not part
            self._reads = True
            part = await (self._invited() if self._expects else content.readany())
            self._reads = False
            if self._patience is not None:
                self._patience.begin_anew()
            if not part:
                return
            self._on_part()
            give_way_after(len(part))
            yield self._give(part)

    async def _invited(self) -> bytes:
        """Return the first part of a body whose browser may wait for an invitation."""
        content = self._request.content
        if self._asks:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_INVITATION):
                    return await content.readany()
        await self.invite()
        return await content.readany()
