import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from bascule.admin.capacity import ClusterCapacity
from bascule.admin.peerclient import PeerClient
from bascule.admin.peers import Peers
from bascule.policy.config import Capacity, WebSocketProxy
from bascule.policy.endpoints import Endpoint
from bascule.vocabulary import Level
from tests.admin.fake_view import FakeView, config
from tests.support.clock import Clock
from tests.support.processes import reserve_port


class Peer:
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
async def cluster_of(
    *peers: Peer, sessions: int = 0, extra: tuple[Endpoint, ...] = (), patience: float = 5.0
) -> AsyncIterator[tuple[Peers, Clock]]:
    """One instance with a cap of 10 that asks these peers."""
    async with contextlib.AsyncExitStack() as stack:
        endpoints = list(extra)
        for peer in peers:
            app = web.Application()
            app.router.add_get("/capacity", peer.answer)
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
        client = PeerClient(view.config)
        stack.push_async_callback(client.close)
        asked = Peers(view, client, "a", clock)
        stack.push_async_callback(asked.close)
        yield asked, clock


def figures(whole: ClusterCapacity) -> tuple[int, int, int, int]:
    return whole.in_flight, whole.max, whole.instances, whole.reporting


async def test_without_peers_the_instance_is_the_cluster() -> None:
    async with cluster_of(sessions=4) as (peers, _):
        assert not peers.configured
        assert figures(await peers.read()) == (4, 10, 1, 1)


async def test_peers_are_asked_for_their_own_part_only() -> None:
    peer = Peer()
    async with cluster_of(peer, sessions=4) as (peers, _):
        assert figures(await peers.read()) == (7, 20, 2, 2)
        assert peer.queries == ["/capacity?scope=instance"]


async def test_an_answer_serves_everybody_until_it_is_too_old() -> None:
    peer = Peer()
    async with cluster_of(peer) as (peers, clock):
        await peers.read()
        clock.now += 4.9
        await peers.read()
        assert peer.asked == 1
        clock.now += 0.1
        await peers.read()
        assert peer.asked == 2


async def test_our_own_part_is_never_cached() -> None:
    async with cluster_of(Peer()) as (peers, _):
        assert figures(await peers.read())[0] == 3
        peers._view.open()  # type: ignore[attr-defined]
        assert figures(await peers.read())[0] == 4


async def test_callers_at_the_same_time_share_one_round() -> None:
    peer = Peer()
    peer.hold.clear()
    async with cluster_of(peer) as (peers, _):
        calls = [asyncio.create_task(peers.read()) for _ in range(20)]
        await peer.was_asked.wait()
        peer.hold.set()
        answers = await asyncio.gather(*calls)
    assert {figures(answer) for answer in answers} == {(3, 20, 2, 2)}
    assert peer.asked == 1


async def test_a_caller_that_gives_up_does_not_end_the_round_of_the_others() -> None:
    peer = Peer()
    peer.hold.clear()
    async with cluster_of(peer) as (peers, _):
        impatient, patient = asyncio.create_task(peers.read()), asyncio.create_task(peers.read())
        await peer.was_asked.wait()
        impatient.cancel()
        peer.hold.set()
        assert figures(await patient) == (3, 20, 2, 2)


async def test_a_silent_peer_is_counted_with_its_last_known_cap() -> None:
    peer = Peer()
    async with cluster_of(peer, patience=0.2) as (peers, clock):
        await peers.read()
        peer.hold.clear()
        clock.now += 6
        assert figures(await peers.read()) == (0, 20, 2, 1)
        peer.hold.set()
        clock.now += 6
        assert figures(await peers.read()) == (3, 20, 2, 2)


async def test_a_peer_that_is_not_there_makes_the_answer_partial() -> None:
    async with cluster_of(Peer(), extra=(Endpoint("127.0.0.1", reserve_port()),), sessions=10) as (peers, _):
        whole = await peers.read()
        assert figures(whole) == (13, 20, 3, 2)


async def test_a_full_cluster_with_a_silent_peer_is_not_called_full() -> None:
    async with cluster_of(extra=(Endpoint("127.0.0.1", reserve_port()),), sessions=10) as (peers, _):
        assert (await peers.read()).level is Level.WARNING


@pytest.mark.parametrize("said", [{"draining": True}, {}], ids=["says so", "an older version"])
async def test_a_peer_that_drains_offers_no_slot(said: dict[str, bool]) -> None:
    leaving = Peer()
    leaving.body["instance"].update({"level": "critical", **said})
    async with cluster_of(leaving, sessions=10) as (peers, clock):
        whole = await peers.read()
        assert figures(whole) == (10, 10, 2, 2)
        assert whole.level is Level.CRITICAL
        leaving.hold.clear()
        clock.now += 6
        assert figures(await peers.read())[:3] == (10, 10, 2), "nor does it once it is gone"
        leaving.hold.set()


async def test_a_full_peer_that_drains_is_told_from_one_that_does_not() -> None:
    full, leaving = Peer(), Peer()
    full.body["instance"].update({"inFlight": 10, "level": "critical", "draining": False})
    leaving.body["identity"] = "c"
    leaving.body["instance"].update({"inFlight": 10, "level": "critical", "draining": True})
    async with cluster_of(full, leaving) as (peers, _):
        assert figures(await peers.read()) == (10, 20, 3, 3)


async def test_an_instance_that_finds_itself_among_its_peers_counts_itself_once() -> None:
    itself = Peer()
    itself.body = {"identity": "a", "instance": {"name": "a", "inFlight": 4, "max": 10, "level": "ok"}}
    async with cluster_of(itself, Peer(), sessions=4) as (peers, _):
        assert figures(await peers.read()) == (7, 20, 2, 2)


async def test_an_instance_with_several_addresses_counts_once() -> None:
    one, same, other = Peer(), Peer(), Peer()
    other.body = {**other.body, "identity": "c"}
    async with cluster_of(one, same, other, patience=0.5) as (peers, clock):
        assert figures(await peers.read()) == (6, 30, 3, 3)
        one.hold.clear()
        clock.now += 6
        assert figures(await peers.read()) == (6, 30, 3, 3), "one of its addresses answers"
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
        async with cluster_of(extra=(Endpoint("127.0.0.1", port),)) as (peers, _):
            assert figures(await peers.read()) == (3, 20, 2, 2)


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
    peer = Peer()
    peer.body = body
    async with cluster_of(peer) as (peers, _):
        assert figures(await peers.read()) == (0, 10, 2, 1)


async def test_an_answer_too_deep_to_be_read_is_no_answer() -> None:
    peer = Peer()
    peer.body = web.Response(body=b"[" * 4000, content_type="application/json")
    async with cluster_of(peer) as (peers, _):
        assert figures(await peers.read()) == (0, 10, 2, 1)


@pytest.mark.parametrize(
    ("status", "fields"), [(500, {}), (403, {}), (302, {"Location": "http://127.0.0.1:1/"})]
)
async def test_another_status_is_no_answer(status: int, fields: dict[str, str]) -> None:
    peer = Peer()
    peer.body = web.Response(status=status, headers=fields)
    async with cluster_of(peer) as (peers, _):
        assert figures(await peers.read())[3] == 1


async def test_closing_ends_a_round_that_is_under_way() -> None:
    peer = Peer()
    peer.hold.clear()
    async with cluster_of(peer) as (peers, _):
        call = asyncio.create_task(peers.read())
        await peer.was_asked.wait()
        await peers.close()
        with pytest.raises(asyncio.CancelledError):
            await call
        peer.hold.set()
