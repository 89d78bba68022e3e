import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from bascule.admin.capacity import ClusterCapacity
from bascule.admin.cluster import Cluster
from bascule.admin.instanceclient import InstanceClient
from bascule.configuration.config import Capacity, WebSocketProxy
from bascule.configuration.endpoints import Endpoint
from bascule.vocabulary import Level
from tests.admin.fake_view import FakeView, config
from tests.support.clock import Clock
from tests.support.processes import reserve_port

PATIENCE = 5.0
"""Seconds that an instance is waited for."""


class Other:
    """Another instance's admin listener; answers what the test says."""

    def __init__(self) -> None:
        self.body: Any = {"identity": "b", "instance": {"name": "b", "inFlight": 3, "max": 10, "level": "ok"}}
        self.asked = 0
        self.queries: list[str] = []
        self.was_asked = asyncio.Event()
        self.hold = asyncio.Event()
        self.hold.set()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked += 1
        self.was_asked.set()
        self.queries.append(request.path_qs)
        await self.hold.wait()
        return self.body if isinstance(self.body, web.StreamResponse) else web.json_response(self.body)


@contextlib.asynccontextmanager
async def instances_with(
    *others: Other, sessions: int = 0, extra: tuple[Endpoint, ...] = (), patience: float = PATIENCE
) -> AsyncIterator[tuple[Cluster, Clock]]:
    """One instance with a cap of 10 that asks these cluster."""
    async with contextlib.AsyncExitStack() as stack:
        endpoints = list(extra)
        for other in others:
            app = web.Application()
            app.router.add_get("/capacity", other.answer)
            server = TestServer(app)
            await server.start_server()
            stack.push_async_callback(server.close)
            assert server.port is not None
            endpoints.append(Endpoint("127.0.0.1", server.port))
        view = FakeView(
            config(
                capacity=Capacity(name="a", peers=tuple(endpoints), peer_timeout=patience, cache_for=5.0),
                websocket_proxy=WebSocketProxy(max_sessions_per_app=10),
            ),
            sessions=sessions,
        )
        clock = Clock()
        client = InstanceClient(view.config)
        stack.push_async_callback(client.close)
        asked = Cluster(view, client, "a", clock)
        stack.push_async_callback(asked.close)
        yield asked, clock


def figures(whole: ClusterCapacity) -> tuple[int, int, int, int]:
    return whole.in_flight, whole.max, whole.instances, whole.reporting


async def test_without_others_the_instance_is_the_cluster() -> None:
    async with instances_with(sessions=4) as (cluster, _):
        assert not cluster.configured
        assert figures(await cluster.read()) == (4, 10, 1, 1)


async def test_others_are_asked_for_their_own_part_only() -> None:
    other = Other()
    async with instances_with(other, sessions=4) as (cluster, _):
        assert figures(await cluster.read()) == (7, 20, 2, 2)
        assert other.queries == ["/capacity?scope=instance"]


async def test_an_answer_serves_everybody_until_it_is_too_old() -> None:
    other = Other()
    async with instances_with(other) as (cluster, clock):
        await cluster.read()
        clock.now += 4.9
        await cluster.read()
        assert other.asked == 1
        clock.now += 0.1
        await cluster.read()
        assert other.asked == 2


async def test_our_own_part_is_never_cached() -> None:
    async with instances_with(Other()) as (cluster, _):
        assert figures(await cluster.read())[0] == 3
        cluster._view.open()  # type: ignore[attr-defined]
        assert figures(await cluster.read())[0] == 4


async def test_callers_at_the_same_time_share_one_round() -> None:
    other = Other()
    other.hold.clear()
    async with instances_with(other) as (cluster, _):
        calls = [asyncio.create_task(cluster.read()) for _ in range(20)]
        await other.was_asked.wait()
        other.hold.set()
        answers = await asyncio.gather(*calls)
    assert {figures(answer) for answer in answers} == {(3, 20, 2, 2)}
    assert other.asked == 1


async def test_a_caller_that_gives_up_does_not_end_the_round_of_the_others() -> None:
    other = Other()
    other.hold.clear()
    async with instances_with(other) as (cluster, _):
        impatient, patient = asyncio.create_task(cluster.read()), asyncio.create_task(cluster.read())
        await other.was_asked.wait()
        impatient.cancel()
        other.hold.set()
        assert figures(await patient) == (3, 20, 2, 2)


async def test_who_waits_for_a_round_has_it_although_no_other_is_to_follow() -> None:
    other = Other()
    other.hold.clear()
    async with instances_with(other) as (cluster, _):
        asked = asyncio.create_task(cluster.read())
        await other.was_asked.wait()
        closing = asyncio.create_task(cluster.close())
        await asyncio.sleep(0)
        other.hold.set()
        await closing
        assert figures(await asked) == (3, 20, 2, 2)


async def without(other: Other, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> ClusterCapacity:
    """Read while one says nothing, and let its time be over once it has been asked."""
    other.hold.clear()
    other.was_asked.clear()
    reading = asyncio.create_task(cluster.read())
    await other.was_asked.wait()
    loop = asyncio.get_running_loop()
    now = loop.time
    with monkeypatch.context() as later:
        later.setattr(loop, "time", lambda: now() + PATIENCE)
        await asyncio.wait([reading])
    other.hold.set()
    return reading.result()


async def test_a_silent_instance_is_counted_with_its_last_known_cap(monkeypatch: pytest.MonkeyPatch) -> None:
    other = Other()
    async with instances_with(other) as (cluster, clock):
        await cluster.read()
        clock.now += 6
        assert figures(await without(other, cluster, monkeypatch)) == (0, 20, 2, 1)
        clock.now += 6
        assert figures(await cluster.read()) == (3, 20, 2, 2)


async def test_an_instance_that_is_not_there_makes_the_answer_partial() -> None:
    async with instances_with(Other(), extra=(Endpoint("127.0.0.1", reserve_port()),), sessions=10) as (
        cluster,
        _,
    ):
        whole = await cluster.read()
        assert figures(whole) == (13, 20, 3, 2)


async def test_a_full_cluster_with_a_silent_instance_is_not_called_full() -> None:
    async with instances_with(extra=(Endpoint("127.0.0.1", reserve_port()),), sessions=10) as (cluster, _):
        assert (await cluster.read()).level is Level.WARNING


@pytest.mark.parametrize("said", [{"draining": True}, {}], ids=["says so", "an older version"])
async def test_an_instance_that_drains_offers_no_slot(
    said: dict[str, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    leaving = Other()
    leaving.body["instance"].update({"level": "critical", **said})
    async with instances_with(leaving, sessions=10) as (cluster, clock):
        whole = await cluster.read()
        assert figures(whole) == (10, 10, 2, 2)
        assert whole.level is Level.CRITICAL
        clock.now += 6
        gone = await without(leaving, cluster, monkeypatch)
        assert figures(gone)[:3] == (10, 10, 2), "nor does it once it is gone"


async def test_a_full_instance_that_drains_is_told_from_one_that_does_not() -> None:
    full, leaving = Other(), Other()
    full.body["instance"].update({"inFlight": 10, "level": "critical", "draining": False})
    leaving.body["identity"] = "c"
    leaving.body["instance"].update({"inFlight": 10, "level": "critical", "draining": True})
    async with instances_with(full, leaving) as (cluster, _):
        assert figures(await cluster.read()) == (10, 20, 3, 3)


async def test_an_instance_that_finds_itself_among_the_others_counts_itself_once() -> None:
    itself = Other()
    itself.body = {"identity": "a", "instance": {"name": "a", "inFlight": 4, "max": 10, "level": "ok"}}
    async with instances_with(itself, Other(), sessions=4) as (cluster, _):
        assert figures(await cluster.read()) == (7, 20, 2, 2)


async def test_an_instance_with_several_addresses_counts_once() -> None:
    one, same, other = Other(), Other(), Other()
    other.body = {**other.body, "identity": "c"}
    async with instances_with(one, same, other, patience=0.5) as (cluster, clock):
        assert figures(await cluster.read()) == (6, 30, 3, 3)
        one.hold.clear()
        clock.now += 6
        assert figures(await cluster.read()) == (6, 30, 3, 3), "one of its addresses answers"
        one.hold.set()


async def test_an_answer_in_pieces_is_an_answer() -> None:
    whole = b'{"identity": "b", "instance": {"inFlight": 3, "max": 10, "level": "ok"}}'

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(whole))
        for piece in (whole[:20], whole[20:]):
            await asyncio.sleep(0.05)
            writer.write(piece)
            await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with instances_with(extra=(Endpoint("127.0.0.1", port),)) as (cluster, _):
            assert figures(await cluster.read()) == (3, 20, 2, 2)


@pytest.mark.parametrize(
    "body",
    [
        "text",
        [],
        {"identity": "b"},
        {"identity": 1, "instance": {"inFlight": 1, "max": 2, "level": "ok"}},
        {"identity": "b", "instance": {"inFlight": 1, "max": 2, "level": "green"}},
        {"identity": "b", "instance": {"inFlight": -1, "max": 2, "level": "ok"}},
        {"identity": "b", "instance": {"inFlight": 1, "max": 0, "level": "ok"}},
        {"identity": "b", "instance": {"inFlight": True, "max": 2, "level": "ok"}},
        {"identity": "b", "instance": {"inFlight": 1.5, "max": 2, "level": "ok"}},
        {"identity": "b", "instance": {"inFlight": 1, "max": 2, "level": "ok", "draining": 1}},
        {"identity": "b" * 9000, "instance": {"inFlight": 1, "max": 2, "level": "ok"}},
    ],
)
async def test_an_answer_that_makes_no_sense_is_no_answer(body: object) -> None:
    other = Other()
    other.body = body
    async with instances_with(other) as (cluster, _):
        assert figures(await cluster.read()) == (0, 10, 2, 1)


async def test_an_answer_too_deep_to_be_read_is_no_answer() -> None:
    other = Other()
    other.body = web.Response(body=b"[" * 4000, content_type="application/json")
    async with instances_with(other) as (cluster, _):
        assert figures(await cluster.read()) == (0, 10, 2, 1)


@pytest.mark.parametrize(
    ("status", "fields"), [(500, {}), (403, {}), (302, {"Location": "http://127.0.0.1:1/"})]
)
async def test_another_status_is_no_answer(status: int, fields: dict[str, str]) -> None:
    other = Other()
    other.body = web.Response(status=status, headers=fields)
    async with instances_with(other) as (cluster, _):
        assert figures(await cluster.read())[3] == 1
