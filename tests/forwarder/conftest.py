"""Every test of what a forwarder does runs on both builds of the hot path; some have a process of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.forwarder.process import Forwarder
from tests.support.relaying import BUILDS, Line, World, build_of, world

MakeWorld = Callable[..., World]


@pytest.fixture(params=BUILDS)
def build(request: pytest.FixtureRequest) -> Any:
    """Return one build's module."""
    return build_of(request.param)


@pytest.fixture
def make_world(build: Any) -> Iterator[MakeWorld]:
    """Make forwarders without processes that end with the test."""
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(world(build, **options))


@pytest.fixture
def line(make_world: MakeWorld) -> Line:
    """Return a session of a forwarder that has no reason of its own to end it."""
    return make_world().open()


@pytest.fixture
def forwarder() -> Iterator[Forwarder]:
    """Return a forwarder's process, which ends with the test."""
    running = Forwarder()
    yield running
    running.close()
