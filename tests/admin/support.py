"""What the tests of the admin API share."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from bascule.admin.api import Administration
from tests.admin.fake_view import FakeView, config

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

CSRF = {"X-Bascule-Admin": "1"}
Client = TestClient[web.Request, web.Application]


@contextlib.asynccontextmanager
async def admin(view: FakeView | None = None, **changes: Any) -> AsyncIterator[tuple[Client, FakeView]]:
    """Serve the admin listener over a gateway that is not there."""
    shown = view or FakeView(config(**changes))
    async with TestClient(TestServer(Administration(shown).app)) as client:
        yield client, shown
