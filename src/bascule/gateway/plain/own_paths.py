"""The entry for plain requests: we answer those to our own few paths, and proxy all others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bascule.admin.public import HUB_PROBE, PUBLIC_PATHS
from bascule.gateway.listening.server import as_received, error_response
from bascule.policy.routes import BadTarget, is_reserved
from bascule.protocol.path import is_host, parse_target

if TYPE_CHECKING:
    from aiohttp import web

    from bascule.admin.public import PublicAnswers
    from bascule.gateway.life import Life
    from bascule.gateway.plain.proxy import PlainProxy
    from bascule.policy.routes import Routes

__all__ = ["OwnPaths"]


class OwnPaths:
    """Answers a plain request, or has it proxied.

    Args:
        public: Answers on our own paths.
        routes: A route that matches comes before `PUBLIC_PATHS`.
        proxy: Takes all other requests.
        life: Tells whether connections are kept.
        is_hubs: Whether we take JupyterHub's routes, and so answer the probe of its chart.
    """

    def __init__(
        self, public: PublicAnswers, routes: Routes, proxy: PlainProxy, life: Life, *, is_hubs: bool
    ) -> None:
        self._public = public
        self._routes = routes
        self._proxy = proxy
        self._life = life
        self._is_hubs = is_hubs

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer a request.

        Cancellation: safe.
        """
        if (segments := self._of(request)) is not None:
            answer = await self._public.handle(request, segments)
            answer.headers["Server"] = "bascule"
            if not self._life.keeps:
                answer.force_close()
            return answer
        if "websocket" in (upgrade := request.headers.get("Upgrade", "").lower()):
            # We take an upgrade before aiohttp sees it. One that arrives here was sent before the
            # answer to an earlier request, or its Upgrade names something else as well.
            detail = (
                "A WebSocket handshake must not be pipelined."
                if upgrade == "websocket"
                else "The Upgrade field must be websocket and nothing else."
            )
            return error_response(400, detail, None)
        return await self._proxy.handle(request)

    def _of(self, request: web.BaseRequest) -> list[bytes] | None:
        """Return the path of a request if we answer it ourselves; ``None`` for all others, also bad ones."""
        if request.version.major != 1:
            return None  # the proxy refuses it, whatever its path
        raw_target = as_received(request.raw_path)
        try:
            segments = parse_target(raw_target).segments
            ours = is_reserved(segments) or (self._is_hubs and segments == [HUB_PROBE])
            if not ours and tuple(segments) not in PUBLIC_PATHS:
                return None
            host = as_received(request.headers.get("Host", ""))
            ours = is_host(host) and (ours or self._routes.match(raw_target, host) is None)
        except BadTarget:
            return None
        return segments if ours else None
