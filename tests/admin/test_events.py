import asyncio
import json
import socket

import pytest

from bascule.admin import events
from bascule.admin.cluster import Cluster
from bascule.admin.events import SAMPLES, LiveFigures
from bascule.admin.instanceclient import InstanceClient
from bascule.admin.listing import SessionList
from bascule.handover.counters import GatewayWord
from tests.admin.fake_view import FakeView, config
from tests.admin.support import admin


def figures(view: FakeView) -> LiveFigures:
    return LiveFigures(view, SessionList(view), Cluster(view, InstanceClient(view.config), "a"))


async def test_a_sample_counts_what_happened_since_the_one_before() -> None:
    view = FakeView(config(), sessions=2)
    words = view.counters.gateway(0)
    words[GatewayWord.REJECTIONS] = 40  # before this process began to look
    live = figures(view)
    live.take_sample(100.0)
    words[GatewayWord.REJECTIONS] += 3
    words[GatewayWord.UPSTREAM_CONNECT_FAILURES] += 1
    live.take_sample(110.0)
    live.take_sample(120.0)
    hour = live.history()
    assert hour["at"] == [100.0, 110.0, 120.0]
    assert hour["rejections"] == [0, 3, 0]
    assert hour["upstreamFailures"] == [0, 1, 0]
    assert hour["inFlight"] == [2, 2, 2]


async def test_what_happened_since_the_newest_sample_is_in_the_snapshot() -> None:
    view = FakeView(config(), sessions=2)
    live = figures(view)
    live.take_sample(100.0)
    view.counters.gateway(0)[GatewayWord.REJECTIONS] += 3
    for _ in range(2):  # reading closes nothing
        shot = (await live.snapshot())["open"]
        assert isinstance(shot, dict)
        assert (shot["since"], shot["rejections"], shot["upstreamFailures"]) == (100, 3, 0)
    live.take_sample(110.0)
    shot = (await live.snapshot())["open"]
    assert isinstance(shot, dict)
    assert (shot["since"], shot["rejections"]) == (110, 0)


async def test_another_process_goes_on_with_the_hour() -> None:
    view = FakeView(config(), sessions=2)
    words = view.counters.gateway(0)
    before = figures(view)
    before.take_sample(100.0)
    words[GatewayWord.REJECTIONS] += 3
    before.take_sample(110.0)
    words[GatewayWord.REJECTIONS] += 1  # told while nobody looks

    after = figures(view)
    after.restore(json.loads(json.dumps(before.dump())))
    after.take_sample(120.0)

    hour = after.history()
    assert (hour["at"], hour["rejections"], hour["inFlight"]) == ([100.0, 110.0, 120.0], [0, 3, 1], [2, 2, 2])


async def test_the_hour_stays_in_order_when_the_clock_is_set_back() -> None:
    view = FakeView(config(), sessions=2)
    live = figures(view)
    for now in (5000.0, 5010.0, 5025.0, 1000.0, 1010.0):
        live.take_sample(now)
    assert live.history()["at"] == [965.0, 975.0, 990.0, 1000.0, 1010.0]


async def test_the_time_for_which_a_machine_slept_stays_in_the_hour() -> None:
    live = figures(FakeView(config()))
    for now in (100.0, 110.0, 9000.0):
        live.take_sample(now)
    assert live.history()["at"] == [100.0, 110.0, 9000.0]


async def test_the_ring_holds_one_hour() -> None:
    live = figures(FakeView(config()))
    for index in range(SAMPLES + 50):
        live.take_sample(index * 10.0)
    at = live.history()["at"]
    assert isinstance(at, list)
    assert (len(at), at[0]) == (SAMPLES, 500.0)


async def test_a_watcher_that_takes_nothing_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "_WRITE_TIMEOUT", 0.1)
    monkeypatch.setattr(events, "_SNAPSHOT_EVERY", 0.01)
    monkeypatch.setattr(LiveFigures, "history", lambda _: {"at": ["x" * 1_000_000] * 20})
    async with admin() as (client, _):
        assert client.server.runner is not None
        server = client.server.runner.server
        assert server is not None
        with socket.create_connection((client.server.host, client.server.port)) as watcher:
            watcher.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
            for wanted in (1, 0):
                async with asyncio.timeout(5):
                    while len(server.connections) != wanted:  # noqa: ASYNC110 - aiohttp tells nobody
                        await asyncio.sleep(0.01)
