"""The gateway's tests run on the event loop that the gateway runs on; those of plain HTTP share a world."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest_asyncio
import uvloop

from tests.gateway.plain_support import World, new_world

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    import pytest


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Return uvloop for plain HTTP, the default loop for everything else."""
    if item.path.name.startswith("test_plain"):
        return {"uvloop": uvloop.new_event_loop}
    return {"asyncio": asyncio.new_event_loop}


@pytest_asyncio.fixture
async def world() -> AsyncIterator[World]:
    """Return what stands around the proxying of plain requests: upstreams, a gateway, browsers."""
    async with new_world() as world:
        yield world
