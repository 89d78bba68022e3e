import contextlib
import json
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from bascule.admin.api import Administration
from bascule.configuration.config import WebSocketProxy
from bascule.protocol.path import parse_target
from tests.admin.fake_view import FakeView, config

PATHS = ["/api/capacity", "/.bascule/capacity"]


@contextlib.asynccontextmanager
async def public(
    sessions: int, *, signed_in: bool = True
) -> AsyncIterator[tuple[TestClient[web.Request, web.Application], FakeView]]:
    """A public listener with a cap of 10 and nothing behind it."""
    view = FakeView(config(websocket_proxy=WebSocketProxy(max_sessions_per_app=10)), sessions=sessions)
    view.signed_in = signed_in
    administration = Administration(view)

    async def serve(request: web.Request) -> web.StreamResponse:
        return await administration.public.handle(request, parse_target(request.raw_path.encode()).segments)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", serve)
    async with TestClient(TestServer(app)) as client:
        yield client, view


@pytest.mark.parametrize("path", PATHS)
async def test_capacity_is_told_to_those_who_are_signed_in(path: str) -> None:
    async with public(8) as (client, _):
        answer = await client.get(path)
        assert answer.status == 200
        assert answer.headers["Cache-Control"] == "no-store"
        body = await answer.json()
        assert body["instance"]["level"] == "warning"
        assert body["cluster"]["instances"] == 1
        assert "identity" not in body


@pytest.mark.parametrize("path", [*PATHS, "/api/capacity/admission"])
async def test_strangers_are_told_nothing(path: str) -> None:
    async with public(8, signed_in=False) as (client, _):
        answer = await client.request("POST" if path.endswith("admission") else "GET", path)
        assert answer.status == 401
        assert answer.headers["WWW-Authenticate"] == 'Cookie realm="bascule", cookie-name=proxy_session'
        assert "inFlight" not in await answer.text()


async def test_the_gate_lets_through_while_a_slot_is_free() -> None:
    async with public(9) as (client, _):
        answer = await client.post("/api/capacity/admission")
        assert (answer.status, await answer.read()) == (204, b"")


@pytest.mark.parametrize("path", ["/api/capacity/admission", "/.bascule/capacity/admission"])
async def test_the_gate_of_a_full_pod_answers_as_hopsworks_does(path: str) -> None:
    async with public(10) as (client, _):
        answer = await client.post(path)
        assert answer.status == 503
        assert 10 <= int(answer.headers["Retry-After"]) <= 20
        assert answer.content_type == "application/json"
        body = json.loads(await answer.read())
        assert body["errorMsg"] == "WebSocket pool full"
        assert isinstance(body["errorCode"], int)
        assert body["usrMsg"]


async def test_the_gate_of_a_draining_pod_is_shut() -> None:
    async with public(0) as (client, view):
        view.drain()
        assert (await client.post("/api/capacity/admission")).status == 503


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("POST", "/api/capacity", "GET, HEAD"),
        ("GET", "/api/capacity/admission", "POST"),
        ("DELETE", "/.bascule/badge.js", "GET, HEAD"),
    ],
)
async def test_other_methods_are_refused(method: str, path: str, allow: str) -> None:
    async with public(0) as (client, _):
        answer = await client.request(method, path)
        assert (answer.status, answer.headers["Allow"]) == (405, allow)


async def test_the_badge_script_is_sent_to_anybody_and_can_be_kept() -> None:
    async with public(0, signed_in=False) as (client, _):
        answer = await client.get("/.bascule/badge.js")
        assert answer.status == 200
        assert answer.content_type == "text/javascript"
        assert "max-age" in answer.headers["Cache-Control"]
        again = await client.get("/.bascule/badge.js", headers={"If-None-Match": answer.headers["ETag"]})
        assert again.status == 304


async def test_nothing_else_is_found_below_the_reserved_prefix() -> None:
    async with public(0) as (client, _):
        for path in ("/.bascule/other", "/.bascule/", "/.bascule/capacity/", "/.bascule/capacity/x"):
            assert (await client.get(path)).status == 404


async def test_scopes_can_be_asked_for_one_by_one() -> None:
    async with public(3) as (client, _):
        assert set(await (await client.get("/api/capacity?scope=instance")).json()) == {"instance"}
        assert set(await (await client.get("/api/capacity?scope=cluster")).json()) == {"cluster"}
        assert (await client.get("/api/capacity?scope=all")).status == 400
