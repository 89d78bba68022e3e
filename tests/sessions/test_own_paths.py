"""Which paths the public listener answers itself, by the one reading that the route table goes by too."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.support.bascule import RunningBascule, run_bascule

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.rawclient import Answer, Clients
    from tests.support.rawupstream import Call, RawUpstream


@pytest.fixture(scope="module")
def bascule(upstream: RawUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBascule]:
    """Run a proxy whose route leaves room for the paths without prefix."""
    config = {"routes": [{"name": "lab", "path": "/lab", "upstream": upstream.url}]}
    with run_bascule(tmp_path_factory.mktemp("bascule"), config) as running:
        yield running


@pytest.fixture(scope="module")
def routed(upstream: RawUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBascule]:
    """Run a proxy with a route for everything."""
    config = {"routes": [{"name": "all", "path": "/", "upstream": upstream.url}]}
    with run_bascule(tmp_path_factory.mktemp("bascule"), config) as running:
        yield running


def _get(clients: Clients, url: str, target: bytes) -> Answer:
    client = clients(url)
    client.send(b"GET %b HTTP/1.1\r\nHost: front\r\n\r\n" % target)
    return client.answer()


OURS = [
    b"/.bascule/capacity",
    b"/.bascule/capacity?scope=instance",
    b"/%2ebascule/capacit%79",
    b"http://front/.bascule/capacity",
]


@pytest.mark.parametrize("target", OURS)
def test_what_is_below_our_prefix_is_ours_whatever_the_routes(
    routed: RunningBascule, clients: Clients, target: bytes
) -> None:
    answer = _get(clients, routed.public_url, target)
    assert answer.status == 200
    assert json.loads(answer.body)["instance"]["inFlight"] == 0


def test_our_paths_are_told_in_no_other_version_of_http(routed: RunningBascule, clients: Clients) -> None:
    client = clients(routed.public_url)
    client.send(b"GET /.bascule/capacity HTTP/2.0\r\nHost: front\r\n\r\n")
    assert client.answer().status == 505


@pytest.mark.parametrize("target", [b"/.bascule/capacity", b"/.bascule/badge.js", b"/api/capacity", b"/x"])
def test_who_asks_for_no_host_that_can_be_one_is_refused_everywhere(
    bascule: RunningBascule, clients: Clients, target: bytes
) -> None:
    client = clients(bascule.public_url)
    client.send(b"GET %b HTTP/1.1\r\nHost: a b\r\n\r\n" % target)
    assert client.answer().status == 400


@pytest.mark.parametrize(
    ("target", "status"),
    [
        *((target, 404) for target in (b"/.bascule/other", b"/.bascule/", b"/.bascule/capacity%2Fx")),
        (b"/.bascule//capacity", 404),
        # What is refused everywhere is refused below our prefix.
        *((target, 400) for target in (b"/.bascule/../x", b"/.bascule/%2e%2e/x", b"//.bascule/capacity")),
        (b"/x/../.bascule/capacity", 400),
    ],
)
def test_nobody_else_is_asked_for_what_we_do_not_have(
    routed: RunningBascule, upstream: RawUpstream, clients: Clients, target: bytes, status: int
) -> None:
    heard = len(upstream.calls)
    assert _get(clients, routed.public_url, target).status == status
    assert len(upstream.calls) == heard


@pytest.mark.parametrize(
    "target",
    [
        b"/.bascule%2fcapacity",  # one segment: aiohttp's reading made two of it
        b"/.bascule%2Fcapacity%2Fadmission",
        b"/.bascule",
        b"/.basculex/capacity",
        b"/api/capacity",
        b"/api%2fcapacity",
    ],
)
def test_other_paths_go_where_the_routes_send_them(
    routed: RunningBascule, upstream: RawUpstream, clients: Clients, target: bytes
) -> None:
    def hello(call: Call) -> None:
        call.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    upstream.scripts[target] = hello
    assert _get(clients, routed.public_url, target).body == b"ok"


@pytest.mark.parametrize(
    ("target", "status"),
    [
        (b"/api/capacity", 200),
        (b"/%61pi/capacity", 200),
        (b"/api/capacity/", 404),
        (b"/api%2fcapacity", 404),
        (b"/api", 404),
        (b"/", 404),
    ],
)
def test_the_paths_without_prefix_are_ours_where_no_route_has_them(
    bascule: RunningBascule, clients: Clients, target: bytes, status: int
) -> None:
    assert _get(clients, bascule.public_url, target).status == status
