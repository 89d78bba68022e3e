"""What browsers are told in place of an upstream's answer, and what is counted and logged of that.

A failure of an upstream is one line in the log, whatever the browser was told. Status codes: 502 upstream
unreachable or not HTTP, 503 no descriptor for one more, 504 upstream too slow. On JupyterHub's routes an
unreachable upstream is 503, by which JupyterLab knows that its server has stopped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bascule.gateway.exchanges import SOON
from bascule.gateway.plain.failure import ANSWERS, NO_ROOM, UNREACHABLE
from bascule.handover.counters import GatewayWord

if TYPE_CHECKING:
    from aiohttp import web

    from bascule.gateway.exchanges import ExchangeCount
    from bascule.gateway.plain.asked import PlainAsked
    from bascule.gateway.plain.hubpages import HubPages
    from bascule.gateway.plain.pools import UpstreamPools
    from bascule.gateway.plain.response import BrowserSide
    from bascule.telemetry.accesslog import AccessLog

__all__ = ["PlainErrors"]

_FAILURES: Final = int(GatewayWord.HTTP_UPSTREAM_FAILURES)


class PlainErrors:
    """Answers plain requests with errors.

    Args:
        words: The gateway's block of counters.
        access_log: One line per request that fails.
        exchanges: Counts requests that this host has no room for.
        pools: The connections on which JupyterHub is asked for a page.
        hub_pages: JupyterHub's own pages; ``None`` for ours.
    """

    def __init__(
        self,
        words: memoryview,
        access_log: AccessLog,
        exchanges: ExchangeCount,
        pools: UpstreamPools,
        hub_pages: HubPages | None,
    ) -> None:
        self._words = words
        self._access = access_log
        self._exchanges = exchanges
        self._pools = pools
        self._hub_pages = hub_pages

    async def answer(self, asked: PlainAsked, reason: str, detail: str) -> web.StreamResponse:
        """Answer for an upstream that gave no answer, or was not asked.

        Args:
            asked: The request.
            reason: One of the words of `bascule.gateway.plain.failure`.
            detail: For the log.
        """
        status, page = ANSWERS[reason]
        if reason is NO_ROOM:
            self._exchanges.refused()
            self._log(asked, reason, status, detail)
            # No room, either, to ask JupyterHub for a page.
            return await asked.browser.answer(status, page, SOON)
        if reason == UNREACHABLE and asked.match.hub_route is not None:
            status = 503
        self.note(asked, reason, status, detail)
        return await self.say(asked.browser, status, page)

    async def say(self, browser: BrowserSide, status: int, detail: str) -> web.StreamResponse:
        """Answer with an error, in JupyterHub's words where it has any."""
        if self._hub_pages is not None and (pool := self._pools.named) is not None:
            page = await self._hub_pages.page(pool, status, browser.request.raw_path)
            if page is not None:
                return await browser.answer_with(status, *page)
        return await browser.answer(status, detail)

    def note(self, asked: PlainAsked, reason: str, status: int | None, detail: str) -> None:
        """Count and log a failure of an upstream; ``status`` is what the browser is told, if that is one."""
        self._words[_FAILURES] += 1
        self._log(asked, reason, status, detail)

    def _log(self, asked: PlainAsked, reason: str, status: int | None, detail: str) -> None:
        self._access.request_failed(reason, asked.errand, status=status, detail=detail)
