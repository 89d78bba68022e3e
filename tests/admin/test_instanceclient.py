"""Where the others are."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from aiohttp import web

from bascule.admin.instanceclient import InstanceClient
from bascule.configuration.config import AdminTls, Capacity
from bascule.configuration.endpoints import Endpoint
from tests.admin.fake_view import config
from tests.support.authority import Authority, make_authority

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    Asked = Callable[[str], Awaitable[str]]

ADMIN = Endpoint("127.0.0.1", 8081)


def client(**capacity: Any) -> InstanceClient:
    return InstanceClient(config(admin=ADMIN, capacity=Capacity(name="a", **capacity)))


async def targets(client: InstanceClient, patience: float = 5.0) -> list[str]:
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
    others = client(peers=(Endpoint("10.1.0.1", 9), Endpoint("10.1.0.2", 9)))
    assert others.configured
    assert await targets(others) == ["10.1.0.1:9", "10.1.0.2:9"]


async def test_the_addresses_of_a_headless_service_are_asked_at_the_port_of_our_own_listener(
    names: Names,
) -> None:
    others = client(headless_service="bascule-peers.ns.svc")
    assert others.configured
    assert await targets(others) == ["10.0.0.1:8081", "10.0.0.2:8081"]
    assert names.asked == [("bascule-peers.ns.svc", 8081)]


async def test_an_address_that_is_in_both_is_asked_once(names: Names) -> None:
    names.addresses = ["10.0.0.1", "10.0.0.1", "10.0.0.2"]
    others = client(peers=(Endpoint("10.0.0.2", 8081),), headless_service="s")
    assert await targets(others) == ["10.0.0.2:8081", "10.0.0.1:8081"]


@pytest.mark.parametrize("failure", [socket.gaierror("no answer"), TimeoutError()])
async def test_a_name_service_that_is_silent_forgets_nobody(names: Names, failure: Exception) -> None:
    others = client(headless_service="s")
    before = await targets(others)
    names.fails = failure
    assert await targets(others) == before


async def test_a_name_service_that_hangs_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    async def hang(*_: object, **__: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", hang)
    assert await targets(client(headless_service="s"), patience=0.01) == []


async def test_an_address_that_the_service_no_longer_lists_is_gone(names: Names) -> None:
    others = client(headless_service="s")
    await targets(others)
    names.addresses = ["10.0.0.2"]
    assert await targets(others) == ["10.0.0.2:8081"]


@pytest.mark.parametrize("name", ["a..b", f"{'a' * 64}.svc"])
async def test_a_headless_service_that_can_be_no_host_name_has_no_addresses(name: str) -> None:
    assert await targets(client(headless_service=name)) == []


# -- over TLS ---------------------------------------------------------------------------------------------

SERVICE = "bascule-peers.ns.svc"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("authorities") / "ours")


@contextlib.asynccontextmanager
async def asked_over_tls(authority: Authority, names: str, **capacity: Any) -> AsyncIterator[Asked]:
    """Run an instance that has a certificate for some names and asks for one; yield what asks it."""

    async def answer(request: web.Request) -> web.Response:
        return web.Response(text=f"{request.scheme} {request.path}")

    app = web.Application()
    app.router.add_get("/capacity", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    context = authority.server(authority.issue("peer", names=names))
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    port = runner.addresses[0][1]
    shown = authority.issue("us")
    peers = tuple(Endpoint(host, port) for host in capacity.pop("hosts", ()))
    asking = InstanceClient(
        config(
            admin=Endpoint("127.0.0.1", port),
            admin_tls=AdminTls(certificate=shown.certificate, key=shown.key, peer_ca=authority.ca),
            capacity=Capacity(name="a", peers=peers, **capacity),
        )
    )

    async def ask(host: str) -> str:
        async with asking.ask("GET", Endpoint(host, port), "/capacity") as answer:
            return await answer.text()

    yield ask
    await asking.close()
    await runner.cleanup()


async def test_a_listed_instance_is_known_by_the_host_that_is_listed(authority: Authority) -> None:
    async with asked_over_tls(authority, "DNS:localhost", hosts=["localhost"]) as ask:
        assert await ask("localhost") == "https /capacity"
    async with asked_over_tls(authority, "DNS:localhost", hosts=["127.0.0.1"]) as ask:
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await ask("127.0.0.1")


async def test_an_address_of_a_headless_service_is_known_by_the_services_name(authority: Authority) -> None:
    async with asked_over_tls(authority, f"DNS:{SERVICE}", headless_service=SERVICE) as ask:
        assert await ask("127.0.0.1") == "https /capacity"
    async with asked_over_tls(authority, "IP:127.0.0.1", headless_service=SERVICE) as ask:
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await ask("127.0.0.1")


async def test_an_instance_that_is_listed_and_served_is_known_by_the_host_that_is_listed(
    authority: Authority,
) -> None:
    async with asked_over_tls(
        authority, "IP:127.0.0.1", headless_service=SERVICE, hosts=["127.0.0.1"]
    ) as ask:
        assert await ask("127.0.0.1") == "https /capacity"
