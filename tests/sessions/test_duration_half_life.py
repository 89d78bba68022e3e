"""How fast the percentiles forget is what the configuration says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from tests.support.rawclient import connected
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from tests.conftest import Start
    from tests.support.rawupstream import RawUpstream

MEAN: Final = "ws_connection_duration_seconds_mean"
LONG: Final = 2.0
"""Seconds that the first session lasts, and that pass between the two."""


@pytest.mark.parametrize(("half_life", "forgets"), [("100ms", True), ("300s", False)])
def test_a_session_that_closed_many_half_lives_ago_weighs_nothing(
    bascule: Start, upstream: RawUpstream, half_life: str, forgets: bool
) -> None:
    routes = [{"name": "all", "path": "/", "upstream": upstream.url}]
    proxy = bascule({"routes": routes, "metrics": {"durationHalfLife": half_life}})

    def is_old() -> bool:
        return proxy.metric("ws_connection_in_flight_max_age_seconds") >= LONG

    def closed() -> float:
        return proxy.metric("ws_connection_duration_seconds_count")

    with connected(proxy.public_url) as client:
        client.open()
        eventually(is_old, 20, "the long session is long")
    eventually(lambda: closed() == 1, 10, "it has ended")
    assert proxy.metric(MEAN) >= LONG
    with connected(proxy.public_url) as clock:
        clock.open()
        eventually(is_old, 20, "as much time has passed")
        with connected(proxy.public_url) as client:
            client.open()
        eventually(lambda: closed() == 2, 10, "the short one has ended")
        # The mean of both, each with the same weight, is at least half of the long one.
        assert (proxy.metric(MEAN) < LONG / 2) == forgets
