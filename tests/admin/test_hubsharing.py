"""Instances that share JupyterHub's routes, and a Hub that tells any of them."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import socket
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from bascule.admin import hubanswers, hublines, hubsharing
from bascule.admin.api import Administration
from bascule.admin.health import readiness
from bascule.configuration.config import Capacity, Hub
from bascule.configuration.endpoints import Endpoint
from tests.admin.fake_view import FakeView, config
from tests.support.processes import reserve_port
from tests.support.waiting import eventually_async

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.admin.support import Client

TOKEN = "a-token-nobody-guesses"
GIVEN = {"Authorization": f"token {TOKEN}"}
TARGET = "http://10.0.0.1:8888"
OTHER = "http://10.0.0.2:8888"
JSON = ("application/json", "application/problem+json")
NOT_TO_BE_WRITTEN = '{"put": "/b", "at": 1, "active": 1, "data": {"target": "http://10.0.0.1:1", "x": NaN}}'


class Log:
    """What was logged."""

    def __init__(self) -> None:
        self.said: list[tuple[str, dict[str, object]]] = []

    def info(self, event: str, **values: object) -> None:
        self.said.append((event, values))

    warning = info

    def of(self, event: str) -> list[dict[str, object]]:
        return [values for said, values in self.said if said == event]


@pytest.fixture(autouse=True)
def log(monkeypatch: pytest.MonkeyPatch) -> Log:
    log = Log()
    for module in (hubsharing, hubanswers, hublines):
        monkeypatch.setattr(module, "_log", log)
    return log


@pytest.fixture(autouse=True)
def _never_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compare as an instance starts, and then when the test says so."""
    monkeypatch.setattr(hubsharing, "_EVERY", 3600.0)
    monkeypatch.setattr(hubsharing, "_YOUNG", 0.0)


class Instance:
    """One instance's admin listener, and what tests see of it."""

    def __init__(self, port: int, peers: list[int], clock: Callable[[], float], patience: float) -> None:
        self.port = port
        self.view = FakeView(
            config(
                admin=Endpoint("127.0.0.1", port),
                admin_token=TOKEN,
                hub=Hub(enabled=True, share_routes=True),
                capacity=Capacity(
                    name="a",
                    peers=tuple(Endpoint("127.0.0.1", each) for each in peers),
                    peer_timeout=patience,
                ),
            )
        )
        self.hub = self.view.take_hub(self.view.config.hub, clock)
        assert self.view.hub is not None
        self.standing = self.view.hub.standing
        self._life = contextlib.AsyncExitStack()
        self.quiet = asyncio.Lock()
        """Held while it compares."""
        self._compared = asyncio.Event()

    async def start(self, *, compared: bool = True) -> None:
        """Start it, and wait until it has compared once.

        A comparison that is cut may leave a connection that the other has only just accepted, which nobody
        closes, and one that is late meets what the test does next.
        """
        self.administration = Administration(self.view)
        app = self.administration.app
        assert self.administration._sharing is not None
        self.sharing = self.administration._sharing
        compare = self.sharing.compare

        async def compare_and_note_it() -> None:
            async with self.quiet:
                await compare()
            self._compared.set()

        self.sharing.compare = compare_and_note_it  # type: ignore[method-assign]
        server = TestServer(app, port=self.port)
        self.client: Client = await self._life.enter_async_context(TestClient(server))
        if compared:
            await self._compared.wait()

    async def stop(self) -> None:
        async with self.quiet:
            await self.close()

    async def close(self) -> None:
        """Close it; nothing compares with it meanwhile."""
        await self._life.aclose()

    async def call(
        self, method: str, path: str, body: object = None, fields: dict[str, str] = GIVEN
    ) -> tuple[int, Any]:
        data = io.BytesIO(body if isinstance(body, bytes) else json.dumps(body).encode()) if body else None
        answer = await self.client.request(method, path, data=data, headers=fields)
        text = await answer.text()
        return answer.status, json.loads(text) if answer.content_type in JSON and text else text

    async def add(self, routespec: str, target: str = TARGET) -> None:
        assert await self.call("POST", f"/api/routes{routespec}", {"target": target}) == (201, "")

    async def routes(self) -> dict[str, str]:
        status, routes = await self.call("GET", "/api/routes")
        assert status == 200
        return {routespec: route["target"] for routespec, route in routes.items()}

    @property
    def known(self) -> dict[str, object]:
        return {route.routespec: route.data["target"] for route in self.hub}


@contextlib.asynccontextmanager
async def instances(
    number: int = 2, start: int | None = None, patience: float = 5.0
) -> AsyncIterator[list[Instance]]:
    """Some instances, of which the first ones are started. Each finds itself among the others, too."""
    ports = [reserve_port() for _ in range(number)]
    clocks = [iter(range(1000 - 100 * each, 10**6)) for each in range(number)]  # none is right
    all_of_them = [
        Instance(port, ports, lambda clock=clock: float(next(clock)), patience)  # type: ignore[misc]
        for port, clock in zip(ports, clocks, strict=True)
    ]
    try:
        for instance in all_of_them[: number if start is None else start]:
            await instance.start()
        yield all_of_them
    finally:
        async with contextlib.AsyncExitStack() as quiet:
            for instance in all_of_them:  # one that still compared would connect to one that closes
                await quiet.enter_async_context(instance.quiet)
            for instance in all_of_them:
                await instance.close()


# -- what the Hub says ------------------------------------------------------------------------------------


async def test_what_the_hub_tells_one_instance_all_have_when_it_is_answered() -> None:
    async with instances(3) as (one, two, three):
        await one.add("/user/ada")
        assert one.known == two.known == three.known == {"/user/ada": TARGET}
        await two.add("/user/grace")
        await two.add("/user/ada", OTHER)
        assert one.known == two.known == three.known == {"/user/ada": OTHER, "/user/grace": TARGET}
        assert await three.call("DELETE", "/api/routes/user/ada") == (204, "")
        assert one.known == two.known == three.known == {"/user/grace": TARGET}
        assert (await one.call("DELETE", "/api/routes/user/ada"))[0] == 404


async def test_what_is_said_last_counts_whatever_the_clocks_say() -> None:
    async with instances(2) as (ahead, behind):
        await ahead.add("/user/ada")
        assert (await behind.call("DELETE", "/api/routes/user/ada"))[0] == 204
        await ahead.add("/user/ada", OTHER)
        await behind.add("/user/ada", TARGET)
        assert ahead.known == behind.known == {"/user/ada": TARGET}


async def test_an_instance_that_is_not_there_keeps_nobody_waiting_and_is_named_once(log: Log) -> None:
    async with instances(2, start=1) as (one, two):
        await one.add("/user/ada")
        await one.add("/user/grace")
        assert log.of("a peer does not share its routes") == [
            {"peer": f"127.0.0.1:{two.port}", "problem": "it cannot be reached: ECONNREFUSED"}
        ]
        assert one.standing.failing == 1
        await two.start()
        await one.sharing.compare()
        assert one.standing.failing == 0


async def test_an_instance_that_says_nothing_is_not_waited_for(log: Log) -> None:
    async with instances(2, start=0, patience=0.2) as (one, two):
        with socket.create_server(("127.0.0.1", two.port)):  # the kernel takes connections, and nobody speaks
            await one.start()
            await one.add("/user/ada")
            assert one.known == {"/user/ada": TARGET}
        silent = f"127.0.0.1:{two.port}"
        # Of itself, too, where the machine halts for as long.
        said = log.of("a peer does not share its routes")
        assert [each["problem"] for each in said if each["peer"] == silent] == ["it did not answer in time"]


async def test_an_instance_that_ends_the_connection_is_said_to(log: Log) -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")  # with it unread the connection would be reset
        writer.close()

    async with instances(2, start=0) as (one, two):
        async with await asyncio.start_server(hang_up, "127.0.0.1", two.port):
            await one.start()
            await one.add("/user/ada")
        assert log.of("a peer does not share its routes") == [
            {"peer": f"127.0.0.1:{two.port}", "problem": "it ended the connection without an answer"}
        ]


# -- who has missed something -----------------------------------------------------------------------------


async def test_an_instance_that_starts_has_all_routes_before_it_is_ready() -> None:
    async with instances(2, start=1) as (one, two):
        await one.add("/user/ada")
        two.standing.complete.clear()
        assert readiness(two.view).reason == "the other instances have not told JupyterHub's routes yet"
        await two.start()
        await until(two.standing.complete.is_set)
        assert two.known == {"/user/ada": TARGET}
        assert readiness(two.view).ready


async def test_an_instance_that_is_alone_is_ready() -> None:
    async with instances(2, start=1) as (one, _):
        await until(one.standing.complete.is_set)
        assert readiness(one.view).ready


async def test_a_gateway_that_has_taken_routes_over_is_ready_at_once() -> None:
    async with instances(2, start=0) as (one, _):
        one.hub.put("/user/ada", {"target": TARGET})
        await one.start(compared=False)
        assert one.standing.complete.is_set()


async def test_who_was_away_has_what_was_added_and_removed_meanwhile(log: Log) -> None:
    async with instances(2) as (one, two):
        for name in ("ada", "grace"):
            await one.add(f"/user/{name}")
        await two.stop()
        log.said.clear()
        await one.add("/user/hopper")
        await one.add("/user/ada", OTHER)
        assert (await one.call("DELETE", "/api/routes/user/grace"))[0] == 204
        assert two.known != one.known
        await two.start()
        await until(lambda: two.known == one.known)
        assert two.known == {"/user/ada": OTHER, "/user/hopper": TARGET}
        await one.sharing.compare()
        assert log.of("a peer shares its routes again") == [{"peer": f"127.0.0.1:{two.port}"}]
        assert log.of("routes taken over from a peer")[-1]["changes"] == 3


async def test_both_sides_of_a_split_agree_on_what_was_said_last() -> None:
    async with instances(2, start=0) as (one, two):
        one.hub.put("/user/ada", {"target": TARGET})  # at 1000
        two.hub.put("/user/ada", {"target": OTHER})  # at 900
        two.hub.put("/user/grace", {"target": OTHER})
        await one.start()
        await two.start()
        await one.sharing.compare()
        await two.sharing.compare()
        assert one.known == two.known == {"/user/ada": TARGET, "/user/grace": OTHER}
        assert one.hub.digest == two.hub.digest


async def test_instances_compare_by_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hubsharing, "_EVERY", 0.01)
    async with instances(2) as (one, two):
        two.hub.put("/user/ada", {"target": TARGET})
        await until(lambda: one.known == two.known)


async def test_an_instance_that_has_just_started_compares_more_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hubsharing, "_YOUNG", 3600.0)
    monkeypatch.setattr(hubsharing, "_AT_FIRST", 0.01)
    async with instances(2) as (one, two):
        two.hub.put("/user/ada", {"target": TARGET})
        await until(lambda: one.known == two.known)


async def test_instances_with_the_same_routes_send_each_other_none() -> None:
    async with instances(2) as (one, two):
        await one.add("/user/ada")
        fields = {**GIVEN, "If-None-Match": f'"{one.hub.digest}"'}
        assert await two.call("GET", "/hub/changes", fields=fields) == (304, "")
        status, lines = await two.call("GET", "/hub/changes", fields={**GIVEN, "If-None-Match": '"0"'})
        assert status == 200
        assert [json.loads(line)["put"] for line in lines.splitlines()] == ["/user/ada"]


async def test_many_routes_arrive_whole() -> None:
    async with instances(2, start=1) as (one, two):
        for number in range(3 * hublines._AT_ONCE + 1):
            one.hub.put(f"/user/{number}", {"target": TARGET, "filling": "ä" * 100})
        await two.start()
        await until(two.standing.complete.is_set)
        assert two.known == one.known
        assert two.hub.digest == one.hub.digest


async def until(reached: Callable[[], bool]) -> None:
    await eventually_async(reached, 10, "the instances agree")


# -- activity ---------------------------------------------------------------------------------------------


async def test_the_hub_hears_from_any_instance_when_somebody_was_last_active_at_all_of_them() -> None:
    async with instances(2) as (one, two):
        await one.add("/user/ada")
        route = two.hub.get("/user/ada")
        assert route is not None
        route.last_activity = 86_400.0
        _, routes = await one.call("GET", "/api/routes")
        assert routes["/user/ada"]["last_activity"] == "1970-01-02T00:00:00.000Z"
        _, one_of_them = await one.call("GET", "/api/routes/user/ada")
        assert one_of_them["last_activity"] == "1970-01-02T00:00:00.000Z"
        _, inactive = await one.call("GET", "/api/routes?inactiveSince=1970-01-01T12:00:00Z")
        assert inactive == {}


async def test_activity_at_another_instance_never_makes_a_route_less_active() -> None:
    async with instances(2) as (one, two):
        await one.add("/user/ada")
        for instance, at in ((one, 86_400.0), (two, 3600.0)):
            route = instance.hub.get("/user/ada")
            assert route is not None
            route.last_activity = at
        await one.sharing.collect_activity()
        await two.sharing.collect_activity()
        assert [route.last_activity for instance in (one, two) for route in instance.hub] == [86_400.0] * 2


# -- what must not get through ----------------------------------------------------------------------------


@pytest.mark.parametrize("method_and_path", ["GET /hub/changes", "POST /hub/changes", "GET /hub/activity"])
async def test_who_has_not_the_token_is_neither_told_nor_heard(method_and_path: str) -> None:
    async with instances(1) as (one,):
        method, _, path = method_and_path.partition(" ")
        for fields in ({}, {"Authorization": "Bearer wrong"}):
            assert (await one.call(method, path, fields=fields))[0] == 401


@pytest.mark.parametrize(
    "body",
    [b"{}", b"text", b"[" * 100_000, b"\xff", b'{"put": "/a", "at": 1, "active": 1, "data": 1}\n'],
)
async def test_a_body_that_is_no_change_is_refused(body: bytes) -> None:
    async with instances(1) as (one,):
        status, problem = await one.call("POST", "/hub/changes", body)
        assert (status, problem["detail"]) == (
            400,
            "Each line of the body must be a change of a route, in JSON.",
        )
        assert one.known == {}


async def test_a_body_that_is_too_long_is_refused() -> None:
    async with instances(1) as (one,):
        line = b'{"remove": "/a", "at": 1}\n'
        assert await one.call("POST", "/hub/changes", line * (hubanswers._MOST_BYTES // len(line))) == (
            204,
            "",
        )
        status, problem = await one.call(
            "POST", "/hub/changes", line * (hubanswers._MOST_BYTES // len(line) + 1)
        )
        assert (status, problem["detail"]) == (413, "The body is larger than 262144 bytes.")


async def test_a_route_that_cannot_be_had_here_is_named_and_asked_for_no_more(log: Log) -> None:
    async with instances(1) as (one,):
        lines = b"".join(
            json.dumps({"put": routespec, "at": 1, "active": 1, "data": {"target": target}}).encode() + b"\n"
            for routespec, target in (("/a", "ftp://a"), ("/b", TARGET))
        )
        assert await one.call("POST", "/hub/changes", lines) == (204, "")
        assert await one.call("POST", "/hub/changes", lines) == (204, "")
        assert one.known == {"/b": TARGET}
        assert len(log.of("a peer's route cannot be had here")) == 1


async def test_an_instance_that_retires_takes_nothing_more() -> None:
    async with instances(2) as (one, two):
        two.hub.retire()
        await one.add("/user/ada")
        assert two.known == {}
        body = b'{"put": "/a", "at": 1, "active": 1, "data": {"target": "http://10.0.0.1:1"}}'
        status, _ = await two.call("POST", "/hub/changes", body)
        assert status == 503


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (
            lambda: web.Response(status=400),
            "it answered 400: it has adminTls, and this instance has not",
        ),
        (lambda: web.Response(status=404), "it answered 404: its hub.shareRoutes is off"),
        (lambda: web.Response(status=302, headers={"Location": "http://127.0.0.1:1/"}), "it answered 302"),
        (lambda: web.Response(text="no json\n"), "JSONDecodeError"),
        (lambda: web.Response(text="{}\n"), "This is no change of a route."),
        (lambda: web.Response(text="[" * 100_000), "The line is nested too deeply."),
        (lambda: web.Response(text=NOT_TO_BE_WRITTEN + "\n"), "This is no change of a route."),
        (lambda: web.Response(text="1" * (3 << 20)), "LineTooLong"),
    ],
    ids=["400", "404", "302", "text", "other JSON", "deep", "no JSON for JupyterHub", "long"],
)
async def test_an_instance_that_answers_something_else_is_named_and_changes_nothing(
    log: Log, answer: Callable[[], web.Response], problem: str
) -> None:
    async with instances(2, start=1) as (one, two):
        await one.add("/user/ada")
        app = web.Application()

        async def say(_: web.Request) -> web.Response:
            return answer()

        app.router.add_get("/hub/changes", say)
        async with TestServer(app, port=two.port):
            one.sharing._failing.clear()
            await one.sharing.compare()
        assert one.known == {"/user/ada": TARGET}
        assert log.said[-1][1]["problem"] == problem


@pytest.mark.parametrize(
    "line", ["1", "{}", '["/a"]', '["/a", "1"]', '["/a", true]', "[1, 1]", "[", "[" * 100_000]
)
async def test_activity_that_is_none_changes_nothing(log: Log, line: str) -> None:
    async with instances(2, start=1) as (one, two):
        await one.add("/a")
        app = web.Application()

        async def say(_: web.Request) -> web.Response:
            return web.Response(text=line)

        app.router.add_get("/hub/activity", say)
        one.sharing._failing.clear()
        async with TestServer(app, port=two.port):
            await one.sharing.collect_activity()
        (route,) = one.hub
        assert route.last_activity == 1000.0 or route.last_activity == 1001.0
        assert len(log.of("a peer does not share its routes")) == 2
