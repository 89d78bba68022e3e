"""The admin listener: metrics, health, sessions, drain, capacity, configuration, status page.

Rules of this file: it answers; it owns no socket and no session. Every error is a
problem detail, every answer says how long it may be kept, and only DELETE on
sessions, POST on drain and JupyterHub's routes (`bascule.admin.hubapi`) change anything,
all safe to repeat. `openapi.yaml` beside this file describes it and the tests hold the two together.
"""

from __future__ import annotations

import json
import secrets
from importlib.resources import files
from typing import TYPE_CHECKING, Final

import yaml
from aiohttp import web

from bascule._version import __version__
from bascule.admin import listing, tokens
from bascule.admin.assets import PAGE_FIELDS, admin_folder, load, load_page
from bascule.admin.cluster import Cluster
from bascule.admin.configuration import configuration
from bascule.admin.events import LiveFigures
from bascule.admin.health import readiness
from bascule.admin.hubanswers import HubAnswers
from bascule.admin.hubapi import BODY_BYTES, HubApi
from bascule.admin.hubsharing import HubSharing
from bascule.admin.instanceclient import InstanceClient
from bascule.admin.jsonanswer import json_answer
from bascule.admin.overview import overview
from bascule.admin.problem import Problem, problems
from bascule.admin.public import PublicAnswers, capacities
from bascule.admin.scrapes import Scrapes
from bascule.admin.sessionsapi import SessionsApi
from bascule.configuration.socketpath import UNIX_PEER
from bascule.policy.admincalls import read_token
from bascule.policy.clientaddress import peer_address

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from bascule.admin.view import GatewayView

__all__ = ["Administration"]

_STATIC: Final = ("status.css", "status.js", "table.js", "charts.js", "format.js", "badge.js", "icon.svg")
_PAGE_MAX_AGE: Final = 0


class Administration:
    """Everything the gateway serves about itself, on both listeners.

    Args:
        view: The gateway.

    Attributes:
        scrapes: Who has read the metrics, and when.
        live: The figures of the status page.
        public: Answers for the public listener's own paths.
        app: The admin listener's application.
    """

    def __init__(self, view: GatewayView) -> None:
        self.scrapes = Scrapes()
        self._view = view
        self._identity = secrets.token_hex(8)
        self._client = InstanceClient(view.config)
        self._cluster = Cluster(view, self._client, self._identity)
        self._sessions = listing.SessionList(view)
        self._sharing: HubSharing | None = None
        self.live = LiveFigures(view, self._sessions, self._cluster)
        folder = admin_folder()
        self._static = {name: load(folder, name) for name in _STATIC}
        self._page = load_page(folder, "status.html", self._static)
        self._openapi = _openapi()
        self.public = PublicAnswers(view, self._cluster)
        self.app = self._build()

    def _build(self) -> web.Application:
        config = self._view.config
        token = read_token(config)
        guard = tokens.guard(config.admin, token)
        app = web.Application(middlewares=[problems, guard], client_max_size=BODY_BYTES)
        app.router.add_get("/", self._status_page)
        app.router.add_get("/static/{name}", self._file)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/status", self._status)
        SessionsApi(self._view, self._sessions).add_to(app)
        app.router.add_post("/drain", self._drain)
        for path in tokens.CAPACITY_PATHS:
            app.router.add_get(path, self._capacity)
        app.router.add_get("/config", self._config)
        app.router.add_get("/events", self.live.stream, allow_head=False)
        app.router.add_get("/openapi.json", self._describe)
        if (hub := self._view.hub) is not None:
            if config.hub.share_routes:
                assert token is not None  # `hub.enabled` asks for one
                patience = config.capacity.peer_timeout
                self._sharing = HubSharing(hub, self._client, token, patience)
                HubAnswers(hub, self._sessions, patience).add_to(app)
            HubApi(hub, self._sessions, config.limits.handshake_timeout, self._sharing).add_to(app)
        app.on_response_prepare.append(_add_common_fields)
        app.cleanup_ctx.append(self._running)
        app.on_shutdown.append(self._let_watchers_go)
        return app

    async def _running(self, app: web.Application) -> AsyncIterator[None]:
        self.live.start()
        if self._sharing is not None:
            self._sharing.start()
        yield
        if self._sharing is not None:
            await self._sharing.close()
        await self._cluster.close()
        await self._client.close()

    async def _let_watchers_go(self, app: web.Application) -> None:
        # Before the server waits for open answers: an event stream never ends by itself.
        await self.live.close()

    async def _status_page(self, request: web.Request) -> web.Response:
        return self._page.response(request, max_age=_PAGE_MAX_AGE)

    async def _file(self, request: web.Request) -> web.Response:
        asset = self._static.get(request.match_info["name"])
        if asset is None:
            raise Problem(404, "There is no such file.")
        return asset.response(request, max_age=3600)

    async def _metrics(self, request: web.Request) -> web.Response:
        answer = self._view.render_metrics(request.query, request.headers.get("Accept", "*/*"))
        if request.method == "GET" and answer.status == 200:
            # Not `request.remote`, which on a Unix socket is a name that the client chose.
            self.scrapes.note(peer_address(request.get_extra_info("peername")) or UNIX_PEER)
        return web.Response(
            status=answer.status,
            body=answer.body,
            headers={"Content-Type": answer.content_type, "Cache-Control": "no-store"},
        )

    async def _healthz(self, request: web.Request) -> web.Response:
        return json_answer({"status": "ok", "version": __version__})

    async def _readyz(self, request: web.Request) -> web.Response:
        state = readiness(self._view)
        return json_answer({"ready": state.ready, "reason": state.reason}, status=200 if state.ready else 503)

    async def _status(self, request: web.Request) -> web.Response:
        return json_answer(await overview(self._view, self._sessions, self._cluster))

    async def _drain(self, request: web.Request) -> web.Response:
        self._view.drain()
        return json_answer({"draining": True, "sessions": self._view.capacity().in_flight}, status=202)

    async def _capacity(self, request: web.Request) -> web.Response:
        return json_answer(
            {"identity": self._identity, **await capacities(request.query, self._view, self._cluster)}
        )

    async def _config(self, request: web.Request) -> web.Response:
        return json_answer({"values": configuration(self._view.config, self._view.sources)})

    async def _describe(self, request: web.Request) -> web.Response:
        return web.Response(
            body=self._openapi,
            content_type="application/json",
            headers={"Cache-Control": "public, max-age=3600"},
        )


def _openapi() -> bytes:
    text = (files("bascule.admin") / "openapi.yaml").read_text(encoding="utf-8")
    # Each gateway reads it as it starts; without PyYAML's compiled loader that takes a tenth of a second.
    document = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    document["info"]["version"] = __version__
    return json.dumps(document).encode()


async def _add_common_fields(request: web.Request, response: web.StreamResponse) -> None:
    response.headers.setdefault("Cache-Control", "no-store")
    for name, value in PAGE_FIELDS.items():
        response.headers.setdefault(name, value)
    response.headers["Server"] = "bascule"
