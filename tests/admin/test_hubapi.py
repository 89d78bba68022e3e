"""`/api/routes`, as JupyterHub calls it."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter, UserDict
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from yarl import URL

from bascule.admin.api import Administration
from bascule.admin.hubapi import BODY_BYTES
from bascule.configuration.config import Hub, Limits
from tests.admin.fake_view import FakeView, config
from tests.admin.support import CSRF
from tests.support.clock import Clock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, KeysView

    from aiohttp import ClientResponse

    from bascule.gateway.hubledger import HubRouteLedger
    from tests.admin.support import Client

TOKEN = "a-token-nobody-guesses"
GIVEN = {"Authorization": f"token {TOKEN}"}
TARGET = "http://10.0.0.1:8888"
FIRST = 1_700_000_000.25
"""2023-11-14T22:13:20.250Z"""


class Calls:
    """What JupyterHub does."""

    def __init__(self, client: Client, view: FakeView, hub: HubRouteLedger, clock: Clock) -> None:
        self.client = client
        self.view = view
        self.hub = hub
        self.clock = clock

    async def call(
        self, method: str, path: str, body: object = None, **headers: str
    ) -> tuple[ClientResponse, Any]:
        """Call with the token; the path is sent as it is."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        url = URL(f"/api/routes{path}", encoded=True)
        answer = await self.client.request(method, url, data=data, headers={**GIVEN, **headers})
        text = await answer.text()
        return answer, json.loads(text) if text else None

    async def add(self, path: str, **data: object) -> None:
        answer, _ = await self.call("POST", path, {"target": TARGET, **data})
        assert answer.status == 201

    async def status(self, method: str, path: str, body: object = None, **headers: str) -> int:
        return (await self.call(method, path, body, **headers))[0].status

    async def detail(self, method: str, path: str, body: object = None) -> tuple[int, str]:
        answer, problem = await self.call(method, path, body)
        assert answer.content_type == "application/problem+json"
        return answer.status, problem["detail"]

    async def listed(self, query: str = "") -> list[str]:
        answer, routes = await self.call("GET", query)
        assert answer.status == 200
        return list(routes)


@contextlib.asynccontextmanager
async def hub_api(body_within: float = 10.0, **settings: Any) -> AsyncIterator[Calls]:
    """Serve the admin listener over a hub with a clock of its own."""
    clock = Clock(FIRST)
    view = FakeView(config(admin_token=TOKEN, limits=Limits(handshake_timeout=body_within)))
    hub = view.take_hub(Hub(**settings), clock)
    async with TestClient(TestServer(Administration(view).app)) as client:
        yield Calls(client, view, hub, clock)


# -- adding, reading, removing ----------------------------------------------------------------------------


async def test_a_route_is_added_read_and_removed() -> None:
    async with hub_api() as hub:
        added, body = await hub.call("POST", "/user/alice", {"target": TARGET, "user": "alice"})
        assert (added.status, body, added.headers["Cache-Control"]) == (201, None, "no-store")
        read, route = await hub.call("GET", "/user/alice")
        assert (read.status, read.content_type, read.headers["Cache-Control"]) == (
            200, "application/json", "no-store",
        )  # fmt: skip
        assert route == {"target": TARGET, "user": "alice", "last_activity": "2023-11-14T22:13:20.250Z"}
        removed, body = await hub.call("DELETE", "/user/alice")
        assert (removed.status, body, removed.headers["Cache-Control"]) == (204, None, "no-store")
        assert await hub.status("GET", "/user/alice") == 404


async def test_all_that_was_said_of_a_route_is_told_but_for_when_it_was_active() -> None:
    data = {"server_name": "", "more": {"a": [1, None, 1.5, "ü"]}, "last_activity": "never"}
    async with hub_api() as hub:
        await hub.add("/a", **data)
        _, route = await hub.call("GET", "/a")
        assert route == {"target": TARGET, **data, "last_activity": "2023-11-14T22:13:20.250Z"}


async def test_a_route_that_is_added_again_is_another() -> None:
    async with hub_api() as hub:
        await hub.add("/a", user="alice")
        hub.clock.now += 10
        assert await hub.status("POST", "/a/", {"target": "https://b"}) == 201
        _, routes = await hub.call("GET", "")
        assert routes == {"/a": {"target": "https://b", "last_activity": "2023-11-14T22:13:30.250Z"}}


@pytest.mark.parametrize("path", ["", "/"])
async def test_all_routes_are_listed_at_both_paths(path: str) -> None:
    async with hub_api() as hub:
        assert await hub.listed(path) == []
        await hub.add("/")
        await hub.add("/user/alice", user="alice")
        answer, routes = await hub.call("GET", path)
        assert (answer.status, answer.headers["Cache-Control"]) == (200, "no-store")
        active = {"last_activity": "2023-11-14T22:13:20.250Z"}
        assert routes == {
            "/": {"target": TARGET, **active},
            "/user/alice": {"target": TARGET, "user": "alice", **active},
        }


async def test_a_long_list_is_written_in_pieces_and_others_have_their_turn_in_between() -> None:
    turn = 0
    written_in = []

    class Noted(UserDict[str, object]):
        def keys(self) -> KeysView[str]:
            written_in.append(turn)
            return super().keys()

    async with hub_api() as hub:
        for number in range(1000):
            hub.hub.routes.put(f"/user/{number}", Noted(target=TARGET), FIRST)
        listing = asyncio.create_task(hub.listed())
        while not listing.done():
            await asyncio.sleep(0)
            turn += 1

        assert listing.result() == [f"/user/{number}" for number in range(1000)]
        assert max(Counter(written_in).values()) <= 200


@pytest.mark.parametrize("path", ["", "/"])
async def test_the_route_of_the_root_is_added_and_removed_at_the_list(path: str) -> None:
    async with hub_api() as hub:
        await hub.add(path)
        assert await hub.listed() == ["/"]
        assert await hub.status("DELETE", path) == 204
        assert await hub.status("DELETE", path) == 404
        assert await hub.listed() == []


@pytest.mark.parametrize(
    ("path", "routespec"),
    [
        ("/user/alice/", "/user/alice"),
        ("//user/alice", "/user/alice"),
        ("/user/alice%40example.org", "/user/alice@example.org"),
        ("/user/alice@example.org", "/user/alice@example.org"),
        ("/user/b%C3%BCrger", "/user/bürger"),
        ("/user/a%20b", "/user/a b"),
        ("/user/a+b", "/user/a+b"),
        ("/user%2Falice", "/user/alice"),
        ("/user/100%25", "/user/100%"),
        ("/user/what%3F%23", "/user/what?#"),
        ("/user/a.b/~c", "/user/a.b/~c"),
    ],
)
async def test_a_routespec_is_the_unescaped_path(path: str, routespec: str) -> None:
    async with hub_api() as hub:
        await hub.add(path)
        assert await hub.listed() == [routespec]
        assert await hub.status("GET", path) == 200
        assert await hub.status("DELETE", path) == 204
        assert await hub.listed() == []


async def test_what_was_added_is_where_requests_go() -> None:
    async with hub_api() as hub:
        await hub.add("/user/b%C3%BCrger%20x")
        match = hub.hub.routes.match(b"/user/b%C3%BCrger%20x/lab", b"")
        assert match is not None
        assert match.upstream.host == "10.0.0.1"


async def test_with_host_routing_the_case_of_the_host_means_nothing() -> None:
    async with hub_api(host_routing=True) as hub:
        await hub.add("/Alice.example.org/user")
        await hub.add("/alice.example.org/user")
        assert await hub.listed() == ["/alice.example.org/user"]
        assert await hub.status("DELETE", "/ALICE.example.org/user") == 204
        assert await hub.status("DELETE", "/Alice.example.org/user") == 404


async def test_with_host_routing_each_route_tells_its_host() -> None:
    async with hub_api(host_routing=True) as hub:
        await hub.add("/Alice.example.org/user", host="another")
        await hub.add("")
        _, routes = await hub.call("GET", "")
        assert routes["/Alice.example.org/user"]["host"] == "Alice.example.org"
        assert "host" not in routes["/"]
        _, route = await hub.call("GET", "/alice.example.org/user")
        assert route["host"] == "Alice.example.org"


async def test_without_host_routing_a_route_has_the_host_that_the_hub_said() -> None:
    async with hub_api() as hub:
        await hub.add("/user/alice")
        await hub.add("/user/bob", host="another")
        _, routes = await hub.call("GET", "")
        assert "host" not in routes["/user/alice"]
        assert routes["/user/bob"]["host"] == "another"


QUOTES_NEEDED = "Expecting property name enclosed in double quotes: line 2 column 2 (char 3)."


# -- what is refused --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "Body not valid JSON: Expecting value: line 1 column 1 (char 0)."),
        (b"{\n x}", "Body not valid JSON: " + QUOTES_NEEDED),
        (b"\xff", "Body not valid JSON: it is not UTF-8."),
        (b"null", "The body is not a JSON object."),
        (b"[]", "The body is not a JSON object."),
        (b'"x"', "The body is not a JSON object."),
        (b"[" * 30000 + b"]" * 30000, "The body is nested deeper than 64 levels."),
        (b'{"a":' * 10000 + b"1" + b"}" * 10000, "The body is nested deeper than 64 levels."),
        (b'{"target": "http://a", "x": NaN}', "The body has a number that JSON cannot hold."),
        (b'{"target": "http://a", "x": [1e999]}', "The body has a number that JSON cannot hold."),
        (b'{"target": "http://a", "x": %b}' % (b"1" * 5000), "The body has a number that JSON cannot hold."),
    ],
)  # fmt: skip
async def test_a_body_that_is_no_json_object_is_refused(body: bytes, said: str) -> None:
    async with hub_api() as hub:
        assert await hub.detail("POST", "/a", body) == (400, said)
        assert await hub.listed() == []


@pytest.mark.parametrize(
    ("path", "body", "detail"),
    [
        ("/a", {}, "Must specify 'target' as string"),
        ("/a", {"target": 1}, "Must specify 'target' as string"),
        (
            "/a",
            {"target": "ftp://a"},
            (
                "target must be http://host:port, https://host:port or http+unix://%2Fpath%2Fof.sock;"
                " a path may follow, but no query."
            ),
        ),
        ("/a//b", {"target": TARGET}, "A route may not contain an empty segment."),
        (
            "/a%3Bb",
            {"target": TARGET},
            'A route may not contain ";", "\\" or an escape.',
        ),
        (
            "/a%252Fb",
            {"target": TARGET},
            'A route may not contain ";", "\\" or an escape.',
        ),
        ("/.bascule/x", {"target": TARGET}, "The paths below /.bascule/ are the proxy's own."),
        ("/" + "a" * 2048, {"target": TARGET}, "A route may be at most 2048 bytes long."),
        ("/a%FF", {"target": TARGET}, "The path of the route is not UTF-8."),
        (
            "/a%0Ab",
            {"target": TARGET},
            "No request has this path: The path contains an escaped control character.",
        ),
        ("/b", {"target": TARGET}, "There are already hub.maxRoutes (1) routes."),
    ],
)
async def test_what_cannot_be_a_route_is_400_and_says_why(
    path: str, body: dict[str, object], detail: str
) -> None:
    async with hub_api(max_routes=1) as hub:
        await hub.add("/there")
        assert await hub.detail("POST", path, body) == (400, detail)
        assert await hub.listed() == ["/there"]


@pytest.mark.parametrize("method", ["GET", "DELETE"])
@pytest.mark.parametrize(
    "path", ["/user", "/user/alice/x", "/user/Alice", "/a//b", "/a%3Bb", "/a%0Ab", "/.bascule/x"]
)
async def test_a_route_that_is_not_there_is_404(method: str, path: str) -> None:
    async with hub_api() as hub:
        await hub.add("/user/alice")
        assert await hub.detail(method, path) == (404, "There is no such route.")
        assert await hub.listed() == ["/user/alice"]


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_a_path_that_is_not_utf_8_is_400(method: str) -> None:
    async with hub_api() as hub:
        assert await hub.detail(method, "/a%FF") == (400, "The path of the route is not UTF-8.")


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("PUT", "", "DELETE,GET,POST"),
        ("PUT", "/a", "DELETE,GET,POST"),
        ("PATCH", "/a", "DELETE,GET,POST"),
        ("HEAD", "/a", "DELETE,GET,POST"),
        ("OPTIONS", "/a", "DELETE,GET,POST"),
    ],
)
async def test_another_method_is_405_and_told_those_there_are(method: str, path: str, allow: str) -> None:
    async with hub_api() as hub:
        answer, _ = await hub.call(method, path)
        assert (answer.status, answer.headers["Allow"]) == (405, allow)


async def test_a_body_that_is_too_long_is_413() -> None:
    async with hub_api() as hub:
        assert await hub.detail("POST", "/a", b" " * (BODY_BYTES + 1)) == (
            413,
            f"The body is larger than {BODY_BYTES} bytes.",
        )
        assert await hub.listed() == []
        body = json.dumps({"target": TARGET}).encode()
        assert await hub.status("POST", "/a", body.ljust(BODY_BYTES - 1)) == 201


async def test_a_body_that_does_not_come_holds_no_connection() -> None:
    over = asyncio.Event()

    async def half() -> AsyncIterator[bytes]:
        yield b'{"target": '
        await over.wait()

    async with hub_api(body_within=0.1) as hub, asyncio.timeout(5):
        answer = await hub.client.post("/api/routes/a", data=half(), headers=GIVEN)
        assert (answer.status, answer.content_type) == (408, "application/problem+json")
        assert answer.headers["Connection"] == "close"
        over.set()
        assert await hub.listed() == []


@pytest.mark.parametrize("method", ["POST", "DELETE"])
async def test_while_another_gateway_takes_over_it_is_503_and_asked_again(method: str) -> None:
    async with hub_api() as hub:
        await hub.add("/a")
        hub.hub.retire()
        answer, _ = await hub.call(method, "/a", {"target": "http://b"})
        assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
        assert await hub.listed() == ["/a"]


# -- who may ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", [f"token {TOKEN}", f"Token {TOKEN}", f"Bearer {TOKEN}", f"bearer {TOKEN}"])
async def test_the_token_is_spelt_in_two_ways(given: str) -> None:
    async with hub_api() as hub:
        assert await hub.status("POST", "/a", {"target": TARGET}, Authorization=given) == 201
        assert await hub.status("GET", "", Authorization=given) == 200
        assert await hub.status("DELETE", "/a", Authorization=given) == 204


@pytest.mark.parametrize("given", ["", "token", "token wrong", "Bearer wrong", f"Basic {TOKEN}", TOKEN])
@pytest.mark.parametrize(
    ("method", "path"), [("GET", ""), ("GET", "/"), ("POST", ""), ("POST", "/a"), ("DELETE", "/there")]
)
async def test_without_the_token_it_is_403_and_nothing_changes(given: str, method: str, path: str) -> None:
    async with hub_api() as hub:
        await hub.add("/there")
        answer, problem = await hub.call(method, path, {"target": TARGET}, Authorization=given, **CSRF)
        assert (answer.status, answer.content_type) == (403, "application/problem+json")
        assert "WWW-Authenticate" not in answer.headers
        assert "token" in problem["detail"]
        assert await hub.listed() == ["/there"]


async def test_a_missing_field_is_told_as_a_missing_token() -> None:
    async with hub_api() as hub:
        answer = await hub.client.get("/api/routes")
        assert answer.status == 403
        assert (await answer.json(content_type=None))["detail"] == (
            "This call needs the admin token as a bearer token."
        )


async def test_other_paths_say_401_as_ever() -> None:
    async with hub_api() as hub:
        assert (await hub.client.get("/sessions")).status == 401
        assert (await hub.client.get("/sessions", headers=GIVEN)).status == 200


@pytest.mark.parametrize("path", ["/api/routes", "/api/routes/", "/api/routes/a"])
async def test_where_no_routes_are_taken_there_is_no_such_path(path: str) -> None:
    view = FakeView(config(admin_token=TOKEN))
    view.hub = None
    async with TestClient(TestServer(Administration(view).app)) as client:
        answers = [await client.request(method, path, headers=GIVEN) for method in ("GET", "POST", "DELETE")]
        assert [answer.status for answer in answers] == [404] * 3


# -- activity ---------------------------------------------------------------------------------------------


async def test_a_browser_that_has_sent_something_shows_in_the_answer() -> None:
    async with hub_api() as hub:
        await hub.add("/apps")
        await hub.add("/other")
        number = hub.view.open()
        hub.view.change(number, route="/apps", frames_in=3)
        hub.clock.now += 100_000
        _, routes = await hub.call("GET", "")
        assert routes["/apps"]["last_activity"] > routes["/other"]["last_activity"]
        _, route = await hub.call("GET", "/apps")
        assert route == routes["/apps"]


@pytest.mark.parametrize(
    ("now", "text"),
    [
        (0.0, "1970-01-01T00:00:00.000Z"),
        (FIRST, "2023-11-14T22:13:20.250Z"),
        (FIRST + 0.0009, "2023-11-14T22:13:20.250Z"),
        (951_782_400.999, "2000-02-29T00:00:00.999Z"),
    ],
)
async def test_a_time_is_that_of_utc_in_milliseconds(now: float, text: str) -> None:
    async with hub_api() as hub:
        hub.clock.now = now
        await hub.add("/a")
        _, route = await hub.call("GET", "/a")
        assert route["last_activity"] == text


EARLY, LATE = "2023-11-14T22:13:21Z", "2023-11-14T22:13:40Z"


@pytest.mark.parametrize(
    ("query", "routespecs"),
    [
        (f"?inactive_since={EARLY}", ["/old"]),
        (f"?inactiveSince={EARLY}", ["/old"]),
        (f"/?inactive_since={EARLY}", ["/old"]),
        (f"?inactive_since={LATE}", ["/old", "/new"]),
        ("?inactive_since=2023-11-14T22:13:20.250Z", []),
        ("?inactive_since=2023-11-14T22:13:21", ["/old"]),
        ("?inactive_since=2023-11-15T00:13:21%2B02:00", ["/old"]),
        ("?inactive_since=2023-11-14", []),
        ("?inactive_since=2023-11-15", ["/old", "/new"]),
        ("?inactive_since=2023-11-15T00:13:21+02:00", ["/old"]),
        ("?inactive_since=2099", ["/old", "/new"]),
        (f"?inactiveSince={EARLY}&inactive_since={LATE}", ["/old"]),
        (f"?inactive_since={LATE}&inactiveSince={EARLY}", ["/old"]),
        ("?unknown=1", ["/old", "/new"]),
    ],
)
async def test_routes_are_listed_by_how_long_nobody_was_active(query: str, routespecs: list[str]) -> None:
    async with hub_api() as hub:
        await hub.add("/old")
        hub.clock.now += 10
        await hub.add("/new")
        assert await hub.listed(query) == routespecs


@pytest.mark.parametrize("name", ["inactive_since", "inactiveSince"])
@pytest.mark.parametrize("text", ["", "yesterday", "1700000000", "2023-13-01"])
async def test_what_is_no_time_is_400(name: str, text: str) -> None:
    async with hub_api() as hub:
        answer, problem = await hub.call("GET", f"?{name}={text}")
        assert (answer.status, problem["parameter"]) == (400, name)
        assert problem["detail"].startswith("Invalid datestamp: must be ISO8601, such as 2026-")


async def test_one_route_is_told_however_active_it_is() -> None:
    async with hub_api() as hub:
        await hub.add("/a")
        assert await hub.status("GET", "/a?inactive_since=yesterday") == 200
