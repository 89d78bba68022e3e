"""Two whole proxies for one JupyterHub, which tells either of them."""

from __future__ import annotations

import threading
from contextlib import closing
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from tests.support.frames import CLOSE
from tests.support.hubapi import HubApi
from tests.support.processes import reserve_port
from tests.support.proctree import gateway, kill
from tests.support.rawclient import connect
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from tests.conftest import Start
    from tests.support.bascule import RunningBascule
    from tests.support.rawupstream import RawUpstream

TOKEN = "the-token-of-the-hub"


class Instance:
    """One of them, which can be started again at the same address."""

    def __init__(self, start: Start, admin: str, peers: list[str]) -> None:
        self._start = start
        self._config: dict[str, Any] = {
            "admin": admin, "adminToken": TOKEN, "forwarders": {"count": 1},
            "hub": {"enabled": True, "shareRoutes": True}, "capacity": {"peers": peers},
        }  # fmt: skip
        self.api = HubApi(f"http://{admin}", TOKEN)
        self.start()

    def start(self, **config: str) -> None:
        self.proxy: RunningBascule = self._start({**self._config, **config})
        eventually(lambda: self.api.call_if_up("GET", "/readyz") == READY, 10, "it is ready")

    def routes(self) -> dict[str, str]:
        return {routespec: route["target"] for routespec, route in self.api.routes().items()}

    def serves(self, routespec: str) -> bool:
        """Open a session on a route, and tell whether what is said there comes back."""
        with closing(connect(self.proxy.public_url)) as client:
            client.open(f"{routespec}/api/kernels/1/channels".encode())
            client.say(b"hello")
            answer = client.reply().payload
            client.say(b"", CLOSE)
        return answer == b"hello"


READY = (200, b'{"ready": true, "reason": null}')


@pytest.fixture
def instances(bascule: Start) -> tuple[Instance, Instance]:
    one, two = (f"127.0.0.1:{reserve_port()}" for _ in range(2))
    return Instance(bascule, one, [two]), Instance(bascule, two, [one])


def test_a_route_that_one_is_told_serves_at_the_other(
    instances: tuple[Instance, Instance], upstream: RawUpstream
) -> None:
    one, two = instances
    one.api.add("/user/ada", upstream.url, user="ada")
    assert two.serves("/user/ada")
    assert two.api.remove("/user/ada") == 204
    assert one.routes() == two.routes() == {}


def test_an_instance_that_is_started_again_has_the_routes_as_soon_as_it_is_ready(
    instances: tuple[Instance, Instance], upstream: RawUpstream
) -> None:
    one, two = instances
    one.api.add("/user/ada", upstream.url, user="ada")
    one.api.add("/user/grace", upstream.url, user="grace")
    assert two.proxy.process.stop(20) == 0
    assert one.api.remove("/user/grace") == 204
    two.start()
    assert two.serves("/user/ada")
    assert two.routes() == {"/user/ada": upstream.url}


def test_an_instance_that_starts_answers_nobody_before_it_knows_the_routes(
    instances: tuple[Instance, Instance], upstream: RawUpstream
) -> None:
    one, two = instances
    public = f"127.0.0.1:{reserve_port()}"
    one.api.add("/user/hopper", upstream.url, user="hopper")
    for number in range(200):  # so that it takes a moment
        one.api.add(f"/user/{number}", upstream.url)
    upstream.scripts[b"/user/hopper/"] = lambda call: call.send(
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    )
    assert two.proxy.process.stop(20) == 0
    statuses: set[int] = set()

    def asking() -> None:
        while not over.is_set():
            try:
                with urlopen(f"http://{public}/user/hopper/", timeout=20) as answer:
                    statuses.add(answer.status)
            except HTTPError as error:
                with error:
                    statuses.add(error.code)
            except OSError:
                pass  # nobody is there yet

    over = threading.Event()
    browser = threading.Thread(target=asking)
    browser.start()
    try:
        two.start(listen=public)
        eventually(lambda: statuses, 10, "a browser is answered")
    finally:
        over.set()
        browser.join(30)
    assert statuses == {200}


def test_what_was_said_while_a_gateway_was_dead_is_known_to_the_next(
    instances: tuple[Instance, Instance], upstream: RawUpstream
) -> None:
    one, two = instances
    one.api.add("/user/grace", upstream.url, user="grace")
    kill(gateway(two.proxy))
    one.api.add("/user/ada", upstream.url, user="ada")
    assert one.api.remove("/user/grace") == 204
    eventually(lambda: two.api.call_if_up("GET", "/api/routes/user/ada"), 20, "the next gateway answers")
    eventually(lambda: two.routes() == {"/user/ada": upstream.url}, 20, "it has been told")


def test_the_hub_hears_of_activity_at_the_other(
    instances: tuple[Instance, Instance], upstream: RawUpstream
) -> None:
    one, two = instances
    one.api.add("/user/ada", upstream.url, user="ada")
    before = one.api.last_activity("/user/ada")
    assert two.serves("/user/ada")
    eventually(lambda: one.api.last_activity("/user/ada") > before, 10, "it has heard of it")


def test_a_reload_takes_the_routes_along_and_goes_on_sharing(
    instances: tuple[Instance, Instance], upstream: RawUpstream
) -> None:
    one, two = instances
    one.api.add("/user/ada", upstream.url, user="ada")
    two.proxy.goes_over(77)
    one.api.add("/user/grace", upstream.url, user="grace")
    assert two.routes() == one.routes() == {"/user/ada": upstream.url, "/user/grace": upstream.url}


def test_another_token_is_named_and_shares_nothing(bascule: Start, upstream: RawUpstream) -> None:
    ours, admin = (f"127.0.0.1:{reserve_port()}" for _ in range(2))
    stranger = bascule({
        "admin": admin, "adminToken": "another", "forwarders": {"count": 1},
        "hub": {"enabled": True, "shareRoutes": True}, "capacity": {"peers": [ours]},
    })  # fmt: skip
    one = Instance(bascule, ours, [admin])
    one.api.add("/user/ada", upstream.url)
    assert HubApi(stranger.admin_url, "another").routes() == {}
    (said,) = one.proxy.events("a peer does not share its routes")
    assert (said["peer"], said["problem"]) == (admin, "it answered 401: its admin token is another")
