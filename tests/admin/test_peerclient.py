"""Where the peers are."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from bascule.admin.peerclient import PeerClient
from bascule.policy.config import Capacity
from bascule.policy.endpoints import Endpoint
from tests.admin.fake_view import config

ADMIN = Endpoint("127.0.0.1", 8081)


def client(**capacity: Any) -> PeerClient:
    return PeerClient(config(admin=ADMIN, capacity=Capacity(name="a", **capacity)))


async def targets(client: PeerClient, patience: float = 5.0) -> list[str]:
    return [str(target) for target in await client.targets(asyncio.get_running_loop().time() + patience)]


class Names:
    """A name service that says what the test says."""

    def __init__(self) -> None:
        self.addresses = ["10.0.0.1", "10.0.0.2"]
        self.fails: Exception | None = None
        self.asked: list[tuple[str, int]] = []

    async def resolve(self, host: str, port: int, **_: object) -> list[tuple[Any, ...]]:
        self.asked.append((host, port))
        if self.fails is not None:
            raise self.fails
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in self.addresses]


@pytest.fixture
async def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    names = Names()
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", names.resolve)
    return names


async def test_there_are_none_unless_some_are_configured() -> None:
    assert not client().configured
    assert await targets(client()) == []


async def test_the_configured_ones_are_asked_where_they_are_configured() -> None:
    peers = client(peers=(Endpoint("10.1.0.1", 9), Endpoint("10.1.0.2", 9)))
    assert peers.configured
    assert await targets(peers) == ["10.1.0.1:9", "10.1.0.2:9"]


async def test_the_addresses_of_a_headless_service_are_asked_at_the_port_of_our_own_listener(
    names: Names,
) -> None:
    peers = client(headless_service="bascule-peers.ns.svc")
    assert peers.configured
    assert await targets(peers) == ["10.0.0.1:8081", "10.0.0.2:8081"]
    assert names.asked == [("bascule-peers.ns.svc", 8081)]


async def test_an_address_that_is_in_both_is_asked_once(names: Names) -> None:
    names.addresses = ["10.0.0.1", "10.0.0.1", "10.0.0.2"]
    peers = client(peers=(Endpoint("10.0.0.2", 8081),), headless_service="s")
    assert await targets(peers) == ["10.0.0.2:8081", "10.0.0.1:8081"]


@pytest.mark.parametrize("failure", [socket.gaierror("no answer"), TimeoutError()])
async def test_a_name_service_that_is_silent_forgets_nobody(names: Names, failure: Exception) -> None:
    peers = client(headless_service="s")
    before = await targets(peers)
    names.fails = failure
    assert await targets(peers) == before


async def test_a_name_service_that_hangs_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    async def hang(*_: object, **__: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", hang)
    assert await targets(client(headless_service="s"), patience=0.01) == []


async def test_an_address_that_the_service_no_longer_lists_is_gone(names: Names) -> None:
    peers = client(headless_service="s")
    await targets(peers)
    names.addresses = ["10.0.0.2"]
    assert await targets(peers) == ["10.0.0.2:8081"]


@pytest.mark.parametrize("name", ["a..b", f"{'a' * 64}.svc"])
async def test_a_headless_service_that_can_be_no_host_name_has_no_addresses(name: str) -> None:
    assert await targets(client(headless_service=name)) == []
