"""A plain request whose URL names the host leads neither into this host nor to our own listeners (45, 46)."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

import pytest

from bascule.gateway.plain.client import UpstreamPool, _Names
from bascule.gateway.upstreams.resolver import AT_ONCE
from tests.gateway.plain_support import World, request_head, until
from tests.gateway.upstreams.fenced import HERE, at_home, nobody_came, resolve_to

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.gateway.plain_support import Front

LOOPBACK = "127.0.0.3"
KEPT = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
LAST = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


@pytest.fixture
def here() -> Iterator[None]:
    with at_home():
        yield


async def front_of(world: World, port: int, own: tuple[int, ...] = (), app_host: str = "{app}") -> Front:
    """Return a proxy whose route leads to the host that the first segment of a path names."""
    url = f"http://{app_host}:{port}"
    return await world.front(port, path="/{app}/", upstream_url=url, where={"app": "[a-z]+"}, own=own)


async def refused_as(front: Front, detail: str) -> None:
    before = len(front.log.lines)
    assert (await front.request(b"/apps/")).status == 502
    said = front.log.said("reason", "status", "detail")[before:]
    assert said == [("unreachable", 502, f"name resolves to {detail}")]


async def test_45_it_is_not_sent_to_the_loopback(monkeypatch: pytest.MonkeyPatch, world: World) -> None:
    resolve_to(monkeypatch, LOOPBACK)
    with socket.create_server((LOOPBACK, 0)) as listening:
        front = await front_of(world, listening.getsockname()[1])
        for _ in range(2):  # the second time the name is known
            await refused_as(front, "a loopback address")
        assert nobody_came(listening)
    assert front.failures == 2


def forget(front: Front) -> None:
    """Do what time does: forget the name, and the connection that was kept."""
    session = front.proxy._upstreams._pools._fenced
    assert session is not None
    pool = session.connector
    assert isinstance(pool, UpstreamPool)
    assert isinstance(pool._resolver, _Names)
    pool._resolver._resolver._known.clear()
    for connections in pool._conns.values():
        for connection, _ in connections:
            connection.close()


@pytest.mark.parametrize("answer", [KEPT, LAST])
async def test_46_a_name_that_means_another_address_later_leads_nowhere(
    monkeypatch: pytest.MonkeyPatch, world: World, here: None, answer: bytes
) -> None:
    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readuntil(b"\r\n\r\n"):
            writer.write(answer)
            if answer is LAST:
                break
        writer.close()

    server = await asyncio.start_server(speak, HERE, 0)
    world.stack.callback(server.close)
    port = server.sockets[0].getsockname()[1]
    front = await front_of(world, port)
    with socket.create_server((LOOPBACK, port)) as listening:
        for host in (HERE, LOOPBACK):  # what was looked at is connected to, whatever the name means now
            resolve_to(monkeypatch, host)
            assert (await front.request(b"/apps/")).status == 200
        forget(front)
        await refused_as(front, "a loopback address")
        assert nobody_came(listening)


async def test_45_it_is_not_sent_to_where_we_listen_ourselves(
    monkeypatch: pytest.MonkeyPatch, world: World, here: None
) -> None:
    resolve_to(monkeypatch, HERE)
    with socket.create_server(("", 0)) as listening:
        front = await front_of(world, listening.getsockname()[1], (listening.fileno(),))
        await refused_as(front, "a listener of our own")
        assert nobody_came(listening)


async def test_a_host_that_the_operator_named_may_be_on_the_loopback(
    monkeypatch: pytest.MonkeyPatch, world: World
) -> None:
    upstream = await world.repeating(KEPT)
    resolve_to(monkeypatch, "127.0.0.1")
    front = await world.front(upstream.port, upstream_host="apps")
    assert (await front.request(b"/")).status == 200


async def test_names_that_urls_choose_take_no_more_threads_here_than_for_upgrades(
    monkeypatch: pytest.MonkeyPatch, world: World
) -> None:
    asked: list[str] = []
    answer = asyncio.Event()

    async def look_up(name: str, _: int, **__: object) -> None:
        asked.append(name)
        await answer.wait()
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    front = await front_of(world, 80, app_host="{app}.dead")
    peers = [await front.connect() for _ in range(AT_ONCE)]
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", look_up)
    for number, peer in enumerate(peers):
        await peer.send(request_head(b"/user%b/" % (b"a" * number)))
    await until(lambda: front.in_flight == AT_ONCE)
    await until(lambda: len(asked) >= AT_ONCE // 4)
    assert len(asked) == AT_ONCE // 4
    for peer in peers[AT_ONCE // 2 :]:
        await peer.close()
    await until(lambda: front.in_flight == AT_ONCE // 2)
    answer.set()
    assert [(await peer.message()).status for peer in peers[: AT_ONCE // 2]] == [502] * (AT_ONCE // 2)
    assert len(asked) == AT_ONCE // 2, "for those who have left nobody is asked"
