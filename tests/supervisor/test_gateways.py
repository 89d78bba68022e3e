"""One gateway serves, each has a block of its own, and former ones keep theirs."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from bascule.handover.counters import GATEWAYS
from bascule.supervisor.gateways import Gateways

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bascule.supervisor.gatewaychild import GatewayChild


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["true"]) as process:
        yield process


def succeed(gateways: Gateways, process: subprocess.Popen[bytes]) -> GatewayChild:
    """Let another one take over from one that lives; return the former one."""
    gateways.serving.process = process
    assert gateways.prepare() is not None
    return gateways.take_over(0.0)


def test_the_successor_has_another_place_and_serves_when_it_takes_over(
    process: subprocess.Popen[bytes],
) -> None:
    gateways = Gateways()
    first = gateways.serving
    first.process = process
    successor = gateways.prepare()
    assert successor is not None
    assert list(gateways) == [first, successor]
    assert successor.place != first.place
    assert gateways.take_over(0.0) is first
    assert gateways.serving is successor
    assert list(gateways) == [successor, first]


def test_one_that_has_died_is_no_former_one() -> None:
    gateways = Gateways()
    gateways.prepare()
    gateways.take_over(0.0)
    assert list(gateways) == [gateways.serving]


def test_there_is_no_successor_while_former_ones_have_all_places(process: subprocess.Popen[bytes]) -> None:
    gateways = Gateways()
    former = [succeed(gateways, process) for _ in range(GATEWAYS - 1)]
    assert len({child.place for child in gateways}) == GATEWAYS
    gateways.serving.process = process
    assert gateways.prepare() is None
    gateways.former.remove(former[3])
    successor = gateways.prepare()
    assert successor is not None
    assert successor.place == former[3].place
