"""A proxy to reload, an upstream that says nothing, and certificates."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from tests.sessions.reload.support import route
from tests.support.certificates import Certificate, make_certificate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import Start
    from tests.sessions.reload.support import Proxy
    from tests.support.bascule import RunningBascule
    from tests.support.rawupstream import Call, RawUpstream


@pytest.fixture
def proxy(bascule: Start, upstream: RawUpstream) -> Proxy:
    """Start a proxy in front of the echo; arguments are blocks of the configuration."""

    def start(**config: Any) -> RunningBascule:
        return bascule({"routes": [route(upstream)], "forwarders": {"count": 2}, **config})

    return start


@pytest.fixture
def silent(upstream: RawUpstream, request: pytest.FixtureRequest) -> Iterator[bytes]:
    """Return a path of this test's own, at which the upstream says nothing before the test is over."""
    path = b"/silent/" + request.node.name.encode()
    over = threading.Event()

    def say_nothing(_: Call) -> None:
        over.wait(60)

    upstream.scripts[path] = say_nothing
    yield path
    over.set()


@pytest.fixture
def certificates(tmp_path: Path) -> tuple[Certificate, Certificate]:
    """Make two."""
    homes = tmp_path / "first", tmp_path / "second"
    for home in homes:
        home.mkdir()
    return make_certificate(homes[0]), make_certificate(homes[1])
