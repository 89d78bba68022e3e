"""What the tests of the admin API share."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING, Any

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from bascule.admin.api import Administration
from tests.admin.fake_view import FakeView, config

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    MakeSite = Callable[[web.AppRunner], web.BaseSite]

CSRF = {"X-Bascule-Admin": "1"}
Client = TestClient[web.Request, web.Application]


@contextlib.asynccontextmanager
async def admin(view: FakeView | None = None, **changes: Any) -> AsyncIterator[tuple[Client, FakeView]]:
    """Serve the admin listener over a gateway that is not there."""
    shown = view or FakeView(config(**changes))
    async with TestClient(TestServer(Administration(shown).app)) as client:
        yield client, shown


@contextlib.contextmanager
def served_in_a_thread(app: web.Application, make_site: MakeSite) -> Iterator[Any]:
    """Serve for a client that blocks; yields the address: of a Unix socket its path, otherwise a tuple."""
    started = threading.Event()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()
    address: list[Any] = []

    async def serve() -> None:
        runner = web.AppRunner(app)
        await runner.setup()
        await make_site(runner).start()
        address.extend(runner.addresses)
        started.set()
        await stop.wait()
        await runner.cleanup()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    assert started.wait(10)
    try:
        yield address[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        loop.close()


@contextlib.contextmanager
def admin_in_a_thread(view: FakeView) -> Iterator[str]:
    """Serve the admin listener for a client that blocks; yields its ``host:port``."""
    with served_in_a_thread(
        Administration(view).app, lambda runner: web.TCPSite(runner, "127.0.0.1", 0)
    ) as address:
        yield f"127.0.0.1:{address[1]}"
