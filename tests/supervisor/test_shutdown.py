"""The order of a stop, and what cuts it short. With real processes: tests/rehearsals/test_drain.py."""

from __future__ import annotations

import math
import signal
import time
from typing import TYPE_CHECKING

import pytest

from bascule.configuration.config import Config, Drain
from bascule.policy.drainplan import cut_after
from bascule.supervisor.forwarderchild import ForwarderChild
from bascule.supervisor.gatewaychild import GatewayChild
from bascule.supervisor.gateways import Gateways
from bascule.supervisor.shutdown import Shutdown
from bascule.supervisor.sockets import Listeners
from tests.supervisor.sleepers import Sleepers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bascule.supervisor.child import Child

TIMEOUT = 30.0
DRAIN = Drain(timeout=TIMEOUT, last_scrape=20.0)


class Host(Sleepers):
    """A supervisor with a gateway and a forwarder that sleep."""

    def __init__(self) -> None:
        super().__init__()
        self.gateways = Gateways()
        self.forwarder = ForwarderChild(0)
        self.listeners = Listeners.open(
            Config.model_validate({"listen": "127.0.0.1:0", "admin": "127.0.0.1:0"})
        )
        self.shutdown = Shutdown(self.gateways, self.listeners, self)
        self.start(self.gateways.serving)
        self.start(self.forwarder)

    def __iter__(self) -> Iterator[Child]:
        yield from self.gateways
        yield self.forwarder

    def open_sessions(self) -> int:
        return 3

    def begin(self) -> None:
        """Hear the first signal."""
        self.shutdown.on_signal(signal.SIGTERM, DRAIN)

    def begins_with_a_former_gateway(self) -> GatewayChild:
        """Hear the first signal while another gateway has work left; return that one."""
        former = GatewayChild(1)
        self.start(former)
        self.gateways.former.append(former)
        self.begin()
        return former

    def hears_again(self, monkeypatch: pytest.MonkeyPatch, after: float) -> None:
        """Hear another one so many seconds after the first."""
        assert self.shutdown.draining_since is not None
        now = self.shutdown.draining_since + after
        monkeypatch.setattr(time, "monotonic", lambda: now)
        self.shutdown.on_signal(signal.SIGINT, DRAIN)


@pytest.fixture
def host() -> Iterator[Host]:
    host = Host()
    yield host
    host.end()
    host.listeners.public.close()
    host.listeners.admin.close()


def test_the_first_signal_closes_the_listener_and_lets_the_gateway_drain(host: Host) -> None:
    before = time.monotonic()
    host.begin()
    assert host.listeners.public.fileno() == -1
    assert host.listeners.admin.fileno() != -1
    assert host.told(host.gateways.serving) == ["BeginDrain"]
    assert host.told(host.forwarder) == []
    assert host.shutdown.asked_for
    assert not host.shutdown.ending
    assert before + cut_after(TIMEOUT) <= host.shutdown.deadline < before + TIMEOUT
    assert before <= (host.shutdown.draining_since or 0.0) <= time.monotonic()


def test_a_drain_that_was_begun_by_a_request_goes_on_from_its_own_beginning(host: Host) -> None:
    host.shutdown.draining_since = 17.0
    host.begin()
    assert host.shutdown.draining_since == 17.0


def test_a_drained_gateway_ends_all_children_and_the_stop_is_over_when_they_have_left(host: Host) -> None:
    host.begin()
    host.shutdown.on_drained()
    assert host.shutdown.ending
    assert host.told(host.gateways.serving) == ["BeginDrain", "hung up"]
    assert host.told(host.forwarder) == ["hung up"]
    over = [host.shutdown.over]
    for child in host:
        host.dies(child)
        over.append(host.shutdown.over)
    assert over == [False, False, True]
    assert host.shutdown.exit_status == 0


def test_a_start_that_is_given_up_kills_what_has_begun(host: Host) -> None:
    host.shutdown.give_up(1)
    assert all(host.was_killed(child) for child in host)
    assert host.shutdown.ending
    assert host.shutdown.exit_status == 1


def test_a_former_gateway_with_work_left_is_waited_for(host: Host) -> None:
    former = host.begins_with_a_former_gateway()
    host.shutdown.on_drained()
    assert not host.shutdown.ending
    host.gateways.former.remove(former)
    host.shutdown.finish_if_done()
    assert host.shutdown.ending


def test_a_former_gateway_is_cut_when_the_one_that_serves_cuts_what_it_has(host: Host) -> None:
    former = host.begins_with_a_former_gateway()
    host.shutdown.on_deadline()
    assert host.told(former) == ["hung up"]
    assert host.told(host.gateways.serving) == ["BeginDrain"]
    assert not host.shutdown.ending
    host.shutdown.on_drained()
    assert host.shutdown.ending, "though the former one has still to leave"


def test_a_gateway_that_has_drained_waits_for_a_former_one_until_that_is_cut(host: Host) -> None:
    former = host.begins_with_a_former_gateway()
    host.shutdown.on_drained()
    assert not host.shutdown.ending
    host.shutdown.on_deadline()
    assert host.told(former) == ["hung up"]
    assert host.told(host.forwarder) == ["hung up"]


def test_time_that_is_up_ends_the_children_and_then_kills_those_that_stay(host: Host) -> None:
    begun = time.monotonic()
    host.begin()
    host.shutdown.on_deadline()
    assert host.told(host.forwarder) == []
    assert host.shutdown.deadline > begun + TIMEOUT + DRAIN.last_scrape
    host.shutdown.on_deadline()
    assert host.told(host.forwarder) == ["hung up"]
    assert host.shutdown.deadline < time.monotonic() + TIMEOUT
    host.shutdown.on_deadline()
    assert host.was_killed(host.gateways.serving)
    assert host.was_killed(host.forwarder)
    assert host.shutdown.deadline == math.inf


def test_a_second_signal_stops_at_once(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.begin()
    host.hears_again(monkeypatch, after=1.0)
    assert host.shutdown.ending
    assert host.was_killed(host.gateways.serving)
    assert host.was_killed(host.forwarder)


def test_one_signal_that_comes_to_the_process_and_to_its_group_is_one(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.begin()
    host.hears_again(monkeypatch, after=0.001)
    assert not host.shutdown.ending
    assert host.was_left(host.forwarder)


def test_without_a_gateway_that_could_drain_the_stop_is_a_short_one(host: Host) -> None:
    host.dies(host.gateways.serving)
    host.begin()
    assert host.shutdown.ending


def test_a_successor_that_is_not_prepared_leaves_and_one_that_is_drains_when_it_serves(host: Host) -> None:
    successor = host.gateways.prepare()
    assert successor is not None
    host.start(successor)
    host.begin()
    assert host.told(successor) == ["hung up"]
    assert host.told(host.gateways.serving) == ["BeginDrain"]


def test_a_prepared_successor_is_not_forestalled(host: Host) -> None:
    successor = host.gateways.prepare()
    assert successor is not None
    host.start(successor)
    successor.prepared = True
    host.begin()
    assert host.told(successor) == []
    assert host.told(host.gateways.serving) == []
    assert host.shutdown.draining_since is not None
