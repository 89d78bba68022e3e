"""The gateway's tests run on the event loop that the gateway runs on; those of plain HTTP share a world.

Those of what it knows of JupyterHub share a clock, and a table of routes whose activity is noted.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
import uvloop

from bascule.configuration.config import Hub
from bascule.gateway.connections import giveway
from bascule.gateway.hubactivity import HubActivity
from bascule.gateway.listening import admin as admin_listener
from bascule.policy.hubroutes import HubRoutes
from bascule.policy.routes import RouteTable
from tests.gateway.plain_support import World, new_world
from tests.gateway.upstreams.dialling import SILENT
from tests.support.certificates import make_certificate
from tests.support.clock import Clock
from tests.support.deaf import deaf_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping

    from tests.support.certificates import Certificate


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Return uvloop for plain HTTP, the default loop for everything else."""
    if item.path.name.startswith("test_plain"):
        return {"uvloop": uvloop.new_event_loop}
    return {"asyncio": asyncio.new_event_loop}


@pytest.fixture(autouse=True)
def _has_not_waited(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget that the test before may have had to wait long for a core, on a busy machine."""
    monkeypatch.setattr(giveway._Turns, "not_before", 0.0)


@pytest_asyncio.fixture
async def world() -> AsyncIterator[World]:
    """Return what stands around the proxying of plain requests: upstreams, a gateway, browsers."""
    async with new_world() as world:
        yield world


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """Return a certificate of our own side of TLS."""
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture
def clock() -> Clock:
    """Return a clock that stands still."""
    return Clock()


@pytest.fixture
def hub_routes() -> HubRoutes:
    """Return JupyterHub's routes, of which there are none yet."""
    return HubRoutes(RouteTable(()), Hub())


@pytest.fixture
def activity(hub_routes: HubRoutes, clock: Clock) -> HubActivity:
    """Return what notes activity on these routes, by that clock."""
    return HubActivity(hub_routes, clock)


@pytest.fixture
def silent_port() -> Iterator[int]:
    """Return a port of one address that takes no connection."""
    with deaf_port(SILENT) as port:
        yield port


@pytest.fixture
def admin_connections(monkeypatch: pytest.MonkeyPatch) -> list[admin_listener._Connection]:
    """All connections of an admin listener that were made, in order."""
    made: list[admin_listener._Connection] = []

    class Noted(admin_listener._Connection):
        __slots__ = ()

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            made.append(self)

    monkeypatch.setattr(admin_listener, "_Connection", Noted)
    return made
