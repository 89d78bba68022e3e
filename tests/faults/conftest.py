"""A proxy of its own for each test, since each test breaks it; and an upstream that outlives them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.rawupstream import RawUpstream, run_upstream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.conftest import Start
    from tests.support.bascule import RunningBascule


@pytest.fixture
def upstream() -> Iterator[RawUpstream]:
    """Run an echo."""
    with run_upstream() as running:
        yield running


@pytest.fixture
def proxy(bascule: Start, upstream: RawUpstream) -> Callable[..., RunningBascule]:
    """Start a proxy in front of the echo; arguments are blocks of the configuration."""

    def start(**config: Any) -> RunningBascule:
        return bascule(
            {
                "routes": [{"name": "all", "path": "/", "upstream": upstream.url}],
                "forwarders": {"count": 2},
                "limits": {"closingHandshakeTimeout": "500ms"},
                **config,
            }
        )

    return start
