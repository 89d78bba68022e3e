"""``formerGatewayTimeout``: what began before a reload and is not over in time is cut."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from bascule.handover.counters import GATEWAYS
from tests.sessions.reload.support import half_a_download, works
from tests.support.proctree import gateway, gateways
from tests.support.rawclient import connected
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from tests.sessions.reload.support import Proxy
    from tests.support.bascule import RunningBascule
    from tests.support.certificates import Certificate
    from tests.support.rawupstream import RawUpstream


def _leaves(bascule: RunningBascule, before: int) -> None:
    """Wait until a former gateway has left because its time was up."""
    eventually(lambda: before not in gateways(bascule), 10, "the former one leaves")
    (line,) = eventually(lambda: bascule.events("a former gateway's time is up"), 5, "it is told")
    assert line["pid"] == before
    (left,) = eventually(lambda: bascule.events("a former gateway has left"), 5, "and that it is gone")
    assert left["status"] == "0"


def test_a_download_that_is_not_over_in_time_is_cut_and_others_go_on(
    proxy: Proxy, upstream: RawUpstream
) -> None:
    bascule = proxy()
    before = gateway(bascule)
    with half_a_download(bascule, upstream), connected(bascule.public_url) as client:
        client.open()
        bascule.goes_over(7, formerGatewayTimeout="500ms")
        _leaves(bascule, before)
        assert works(client), "a forwarder carries it"
        eventually(lambda: bascule.metric("bascule_http_requests_in_flight") == 0, 5, "nothing is under way")


def test_a_session_over_tls_that_is_not_over_in_time_is_cut_and_told(
    proxy: Proxy, certificates: tuple[Certificate, Certificate]
) -> None:
    first, second = certificates
    bascule = proxy(tls=first.block(), formerGatewayTimeout="500ms")
    before = gateway(bascule)
    with connected(bascule.public_url, first.client()) as old:
        old.open()
        assert bascule.reload(tls=second.block(), formerGatewayTimeout="500ms")
        _leaves(bascule, before)
        assert not old.rest()
    (line,) = eventually(lambda: bascule.events("session ended"), 5, "it has its line")
    assert (line["ended_by"], line["cause"]) == ("client", "aborted")


def test_a_time_that_is_set_when_no_place_is_left_makes_room_for_the_reload_after(
    proxy: Proxy, upstream: RawUpstream
) -> None:
    bascule = proxy()
    with contextlib.ExitStack() as downloads:
        for cap in range(1, GATEWAYS):
            downloads.enter_context(half_a_download(bascule, upstream))
            bascule.goes_over(cap)
        assert not bascule.reload(formerGatewayTimeout="1ms")
        eventually(lambda: len(gateways(bascule)) == 1, 20, "all former ones have left")
        assert bascule.reload()
