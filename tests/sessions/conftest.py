"""One real proxy in front of one scripted upstream for each module; a test owns the paths it asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.rawupstream import RawUpstream, run_upstream
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.bascule import RunningBascule


@pytest.fixture(scope="module")
def upstream() -> Iterator[RawUpstream]:
    """Run the module's upstream."""
    with run_upstream() as running:
        yield running


@pytest.fixture
def calm(bascule: RunningBascule) -> Iterator[None]:
    """Leave no session of one test to the figures of the next."""
    yield
    eventually(lambda: bascule.in_flight == 0, 10, "all sessions have ended")
