"""One real proxy in front of one scripted upstream for each module; a test owns the paths it asks for."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.rawclient import RawClient, connect
from tests.support.rawupstream import RawUpstream, run_upstream

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator


@pytest.fixture(scope="module")
def upstream() -> Iterator[RawUpstream]:
    """Run the module's upstream."""
    with run_upstream() as running:
        yield running


@pytest.fixture
def clients() -> Iterator[Callable[..., RawClient]]:
    """Open raw connections that end with the test."""
    with ExitStack() as stack:

        def opened(url: str, context: ssl.SSLContext | None = None) -> Any:
            client = connect(url, context)
            stack.callback(client.close)
            return client

        yield opened
