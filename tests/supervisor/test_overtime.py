"""How long former gateways may work on. With real processes: tests/sessions/reload/test_overtime.py."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
import structlog

from bascule.supervisor.gatewaychild import GatewayChild
from bascule.supervisor.gateways import Gateways
from bascule.supervisor.overtime import Overtime
from tests.supervisor.sleepers import Sleepers

if TYPE_CHECKING:
    from collections.abc import Iterator

HOUR = 3600.0


class Host(Sleepers):
    """A supervisor with a gateway that serves, and former ones."""

    def __init__(self) -> None:
        super().__init__()
        self.gateways = Gateways()
        self.overtime = Overtime(self.gateways, self, self.do_later)
        self.start(self.gateways.serving)

    def former(self, seconds: float) -> GatewayChild:
        """Return one that has been a former gateway for so long."""
        child = GatewayChild(1 + len(self.gateways.former))
        self.start(child)
        child.former_since = time.monotonic() - seconds
        self.gateways.former.append(child)
        return child


@pytest.fixture
def host() -> Iterator[Host]:
    host = Host()
    yield host
    host.end()


def test_one_whose_time_is_up_is_told_to_leave_and_killed_if_it_does_not(host: Host) -> None:
    late, early = host.former(HOUR + 1), host.former(HOUR - 60)
    with structlog.testing.capture_logs() as logs:
        host.overtime.allow(HOUR)
    assert host.told(late) == ["hung up"]
    assert host.told(early) == host.told(host.gateways.serving) == []
    assert late.process is not None
    (line,) = logs
    assert (line["pid"], line["seconds"]) == (late.process.pid, HOUR + 1)
    host.pass_time()
    assert host.was_killed(late)
    assert host.was_left(early)


def test_one_that_has_left_meanwhile_is_not_killed(host: Host) -> None:
    late = host.former(HOUR)
    host.overtime.allow(HOUR)
    host.dies(late)
    host.gateways.former.remove(late)
    host.start(late)
    host.pass_time()
    assert host.was_left(late)


def test_each_has_its_own_time(host: Host) -> None:
    first, second = host.former(HOUR - 2), host.former(HOUR - 1)
    host.overtime.allow(HOUR)
    assert len(host.later) == 1, "one look, when the first is due"
    for child in (first, second):
        child.former_since = time.monotonic() - HOUR
        host.overtime._next = 0.0  # its time has come
        host.pass_time()
        assert host.told(child) == ["hung up"]
        second.former_since = time.monotonic() - HOUR


def test_without_a_time_nobody_is_ended(host: Host) -> None:
    child = host.former(1000 * HOUR)
    host.overtime.allow(0)
    assert host.later == []
    assert host.told(child) == []


def test_a_shorter_time_counts_for_those_that_work_on_already_and_none_takes_it_back(host: Host) -> None:
    child = host.former(HOUR)
    host.overtime.allow(2 * HOUR)
    assert host.told(child) == []
    host.overtime.allow(0)
    child.former_since = time.monotonic() - 3 * HOUR
    host.pass_time()
    assert host.told(child) == [], "it may work on for ever by now"
    host.overtime.allow(HOUR)
    assert host.told(child) == ["hung up"]


def test_however_often_it_is_asked_it_looks_once(host: Host) -> None:
    host.former(HOUR - 60)
    for _ in range(5):
        host.overtime.allow(HOUR)
    assert len(host.later) == 1
