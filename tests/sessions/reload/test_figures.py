"""Figures that a reload does not begin anew."""

from __future__ import annotations

import json
import signal
import urllib.request
from typing import TYPE_CHECKING, Any

from tests.sessions.reload.support import serves_with
from tests.support.frames import CLOSE
from tests.support.proctree import forwarders, gateway, kill
from tests.support.rawclient import connected
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from tests.sessions.reload.support import Proxy
    from tests.support.bascule import RunningBascule


def test_durations_go_on_after_a_reload_and_their_counts_after_a_death(proxy: Proxy) -> None:
    bascule = proxy()
    ended(bascule)
    assert bascule.reload(websocketProxy={"maxSessionsPerApp": 7})
    serves_with(bascule, 7)

    assert bascule.metric("ws_connection_duration_seconds_max") > 0
    assert bascule.metric("bascule_session_duration_seconds_count") == 1
    ended(bascule)
    assert bascule.metric("bascule_session_duration_seconds_count") == 2

    kill(gateway(bascule))
    eventually(lambda: bascule.cap_if_up == 7, 20, "another gateway serves")
    assert bascule.metric("bascule_session_duration_seconds_count") == 2


def test_what_forwarders_have_used_goes_on(proxy: Proxy) -> None:
    bascule = proxy()
    kill(forwarders(bascule)[0])
    eventually(lambda: bascule.metric("bascule_forwarder_restarts_total") == 1, 20, "another is in its place")
    eventually(
        lambda: bascule.metric("bascule_forwarder_resident_bytes", forwarder="0"), 10, "it is measured"
    )
    used = {slot: bascule.metric("bascule_forwarder_cpu_seconds_total", forwarder=slot) for slot in "01"}
    assert bascule.reload(websocketProxy={"maxSessionsPerApp": 7})

    def first_scrape() -> str:
        try:
            text = bascule.metrics()
        except OSError:  # the former one leaves, and hangs up
            return ""
        return text if value(text, "ws_pool_max_connections") == 7 else ""

    # The pool goes on, so this is no first scrape after a start, and no counter has gone back.
    assert value(eventually(first_scrape, 20, "another gateway serves"), "ws_pool_cpu_cores") > 0
    for slot, before in used.items():
        assert bascule.metric("bascule_forwarder_cpu_seconds_total", forwarder=slot) >= before


def test_how_often_a_forwarder_was_started_again_is_known_of_one_that_is_down(proxy: Proxy) -> None:
    bascule = proxy()
    for times in (1, 2):  # the third time it is down for a while
        kill(forwarders(bascule)[0])
        eventually(
            lambda times=times: bascule.metric("bascule_forwarder_restarts_total") == times,  # type: ignore[misc]
            20, "another is in its place",
        )  # fmt: skip
    kill(forwarders(bascule)[0])

    bascule.goes_over(7)

    assert bascule.metric("bascule_forwarder_restarts_total") >= 2


def value(text: str, name: str) -> float:
    """Return the value of a metric that has one series."""
    (line,) = [line for line in text.splitlines() if line.startswith(f"{name}{{")]
    return float(line.rpartition(" ")[2])


def test_a_session_that_ends_while_another_gateway_takes_over_is_in_the_percentiles(proxy: Proxy) -> None:
    bascule = proxy()
    with connected(bascule.public_url) as client:
        client.open()
        (row,) = eventually(bascule.sessions, 5, "it is known")
        other = forwarders(bascule)[1 - row["forwarder"]]
        kill(other, signal.SIGSTOP)  # until it says what it carries, the new gateway does not serve
        try:
            assert bascule.reload(websocketProxy={"maxSessionsPerApp": 7})
            client.say(b"", CLOSE)
            eventually(lambda: bascule.events("session ended"), 10, "it has ended")
        finally:
            kill(other, signal.SIGCONT)
    serves_with(bascule, 7)

    assert bascule.metric("ws_connection_duration_seconds_max") > 0


def test_the_status_page_goes_on_with_its_hour(proxy: Proxy) -> None:
    bascule = proxy()

    def history() -> dict[str, Any]:
        with urllib.request.urlopen(f"{bascule.admin_url}/events", timeout=10) as events:
            assert events.readline() == b"event: history\n"
            read: dict[str, Any] = json.loads(events.readline().removeprefix(b"data: "))
            return read

    before = history()["at"]

    bascule.goes_over(7)

    def goes_on() -> bool:
        after = history()
        assert after["at"][: len(before)] == before
        return bool(after["max"][-1] == 7)

    eventually(goes_on, 20, "the gateway that took over has looked for itself")


def ended(bascule: RunningBascule) -> None:
    """Have a session, and wait until its end is told."""
    before = len(bascule.events("session ended"))
    with connected(bascule.public_url) as client:
        client.open()
    eventually(lambda: len(bascule.events("session ended")) > before, 10, "it has ended")
