"""JupyterHub's routes, told by those who do not mean well or do not think."""

from __future__ import annotations

import asyncio
import http.client
import json
from typing import TYPE_CHECKING

import pytest

from tests.support.processes import reserve_port
from tests.support.proctree import gateway, kill
from tests.support.rawclient import connected
from tests.support.rawupstream import run_upstream
from tests.support.tap import run_tap
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.bascule import RunningBascule
    from tests.support.hubapi import HubApi
    from tests.support.rawclient import Answer
    from tests.support.rawupstream import RawUpstream

    Hub = Callable[..., tuple[RunningBascule, HubApi]]

ALICE = "/user/alice"


@pytest.fixture
def hubs_own() -> Iterator[RawUpstream]:
    """Run a Hub, as far as a proxy asks it anything: pages of errors."""
    with run_upstream() as running:
        yield running


def get(proxy: RunningBascule, target: bytes) -> Answer:
    with connected(proxy.public_url) as client:
        client.send(b"GET %b HTTP/1.1\r\nHost: front\r\n\r\n" % target)
        return client.answer()


def post(api: HubApi, routespec: str, body: str) -> int:
    """Add a route in words that no JSON library would choose; returns the status."""
    connection = http.client.HTTPConnection(api.url.removeprefix("http://"), timeout=10)
    try:
        fields = {"Authorization": f"token {api.token}"}
        connection.request("POST", f"/api/routes{routespec}", body, fields)
        return connection.getresponse().status
    finally:
        connection.close()


def test_what_could_not_be_told_again_is_refused_and_the_list_stays_whole(
    hub: Hub, upstream: RawUpstream
) -> None:
    proxy, api = hub()
    api.add(ALICE, upstream.url)

    def put(extra: str) -> int:
        return post(api, "/user/eve", f'{{"target": "{upstream.url}", "extra": {extra}}}')

    # Python's own bound lies between 900 and 1000; what it reads there it cannot always write.
    deep = ["[" * depth + "]" * depth for depth in (65, *range(900, 1000), 30000)]
    assert {put(extra) for extra in ("NaN", "-Infinity", "1e999", *deep)} == {400}
    assert list(api.routes()) == [ALICE]
    assert put("[" * 60 + "]" * 60) == 201
    assert list(api.routes()) == [ALICE, "/user/eve"]
    assert not [line for line in proxy.log_lines if line.get("level") == "error"]


def test_a_route_is_listed_by_the_spelling_of_its_host_that_it_came_with(
    hub: Hub, upstream: RawUpstream
) -> None:
    proxy, api = hub(settings={"hostRouting": True})
    # JupyterHub's own way to make hosts leaves "Alice" as she is, and what it does not know it removes.
    api.add("/alice.hub.example/user/Alice", upstream.url)
    api.add("/Alice.hub.example/user/Alice", upstream.url)

    assert list(api.routes()) == ["/Alice.hub.example/user/Alice"]
    with connected(proxy.public_url) as client:
        client.open(b"/user/Alice/x", host=b"alice.hub.example")
        client.say(b"hello")
        assert client.reply().payload == b"hello"

    kill(gateway(proxy))
    eventually(lambda: proxy.in_flight_if_up is not None, 20, "there is another gateway")
    assert list(api.routes()) == ["/Alice.hub.example/user/Alice"]
    assert api.remove("/Alice.hub.example/user/Alice") == 204
    assert api.routes() == {}


def test_a_needless_escape_in_the_path_of_the_api_is_no_part_of_the_route(
    hub: Hub, upstream: RawUpstream
) -> None:
    _, api = hub()

    assert api.call("POST", "/%61pi/%72outes/user/alice", {"target": upstream.url})[0] == 201
    assert list(api.routes()) == [ALICE]
    assert json.loads(api.call("GET", "/api/%72outes")[1]).keys() == {ALICE}
    assert api.call("DELETE", "/api/%72outes/user/alice")[0] == 204


def test_a_user_whose_name_no_session_could_carry_is_refused(hub: Hub, upstream: RawUpstream) -> None:
    proxy, api = hub()
    long_path = "/" + "r" * 2000

    assert (
        api.call("POST", f"/api/routes{long_path}", {"target": upstream.url, "user": "u" * 65000})[0] == 400
    )
    api.add(long_path, upstream.url, user="\N{HIGH VOLTAGE SIGN}" * 255)
    with connected(proxy.public_url) as client:
        client.open(long_path.encode())
        client.say(b"hello")
        assert client.reply().payload == b"hello"
        kill(gateway(proxy))
        eventually(lambda: proxy.in_flight_if_up == 1, 20, "another gateway has the session")
        (row,) = api.sessions()
    assert row["user"] == "\N{HIGH VOLTAGE SIGN}" * 255


def test_a_reload_that_allows_fewer_routes_takes_none_away(hub: Hub, upstream: RawUpstream) -> None:
    proxy, api = hub()
    for name in ("/a", "/b", "/c"):
        api.add(name, upstream.url)

    proxy.goes_over(7, hub={"enabled": True, "maxRoutes": 2})

    assert list(api.routes()) == ["/a", "/b", "/c"]
    api.add("/b", upstream.url, user="bob")
    assert api.call("POST", "/api/routes/d", {"target": upstream.url})[0] == 400


@pytest.mark.parametrize("said", [b"204 No Content\r\n\r\n", b"200 OK\r\nContent-Length: 0\r\n\r\n"])
def test_where_the_hub_says_nothing_there_is_our_page(hub: Hub, hubs_own: RawUpstream, said: bytes) -> None:
    hubs_own.scripts[b"/hub/error/"] = lambda call: call.send(b"HTTP/1.1 " + said)
    proxy, _ = hub(settings={"errorTarget": f"{hubs_own.url}/hub/error"})

    answer = get(proxy, b"/nowhere")

    assert answer.status == 404
    assert b"There is nothing at this address." in answer.body


@pytest.mark.parametrize(
    ("is_routed", "status", "refused", "detail"),
    [
        pytest.param(False, 404, [508, 404], b"There is nothing at this address.", id="no route"),
        pytest.param(
            True, 503, [508], b"The application behind this address cannot be reached.", id="dead server"
        ),
    ],
)
async def test_an_error_target_that_leads_back_to_us_is_asked_once_and_told_508(
    hub: Hub, is_routed: bool, status: int, refused: list[int], detail: bytes
) -> None:
    port = reserve_port()
    # What leads to us at once is refused at the start.
    async with run_tap(f"http://127.0.0.1:{port}") as detour:

        def ask() -> None:
            proxy, api = hub(
                settings={"errorTarget": f"{detour.url}/hub/error"},
                listen=f"127.0.0.1:{port}",
                log={"format": "json", "level": "debug"},
            )
            if is_routed:
                api.add("/", f"http://127.0.0.1:{reserve_port()}")
            answer = get(proxy, b"/nowhere")
            assert answer.status == status
            assert detail in answer.body
            assert proxy.metric("bascule_http_requests_total") == 2
            lines = proxy.all_events("request refused", len(refused))
            assert sorted(line["status"] for line in lines) == sorted(refused)

        await asyncio.to_thread(ask)
    assert detour.connections == 1
