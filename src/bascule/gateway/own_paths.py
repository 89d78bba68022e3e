"""Plain requests as they come in: those to our own few paths are answered here, all others are proxied."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bascule.admin.public import HUB_PROBE, PUBLIC_PATHS
from bascule.gateway.plain_server import error_response
from bascule.policy.routes import BadTarget, is_reserved
from bascule.protocol.path import is_host, parse_target

if TYPE_CHECKING:
    from aiohttp import web

    from bascule.admin.public import PublicAnswers
    from bascule.gateway.life import Life
    from bascule.gateway.plain import PlainProxy
    from bascule.policy.routes import Routes

__all__ = ["OwnPaths"]


class OwnPaths:
    """Answers a plain request, or has it proxied.

    Args:
        public: Answers on our own paths.
        routes: A path of ours without the prefix is a route's if one matches.
        proxy: For everything else.
        life: Whether connections are kept.
        is_hubs: Whether we take JupyterHub's routes, and so its chart's probe.
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
            # An upgrade is taken before aiohttp sees it; one that arrives here was sent behind
            # a request whose answer was not awaited, or names something else.
            detail = (
                "A WebSocket handshake must not be pipelined."
                if upgrade == "websocket"
                else "The Upgrade field must be websocket and nothing else."
            )
            return error_response(400, detail, None)
        return await self._proxy.handle(request)

    def _of(self, request: web.BaseRequest) -> list[bytes] | None:
        """Return the path of a request that we answer ourselves; ``None`` for all others, bad ones too."""
        if request.version.major != 1:
            return None  # refused, whatever it asks for
        raw_target = request.raw_path.encode("utf-8", "surrogateescape")
        try:
            segments = parse_target(raw_target).segments
            ours = is_reserved(segments) or (self._is_hubs and segments == [HUB_PROBE])
            if not ours and tuple(segments) not in PUBLIC_PATHS:
                return None
            host = request.headers.get("Host", "").encode("utf-8", "surrogateescape")
            ours = is_host(host) and (ours or self._routes.match(raw_target, host) is None)
        except BadTarget:
            return None
        return segments if ours else None
