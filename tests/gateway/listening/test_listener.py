"""What accept(2) may report, and that the listener goes on with the next connection."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import ssl
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
import structlog
import uvloop
from aiohttp import web

from bascule.configuration.config import Config, Limits
from bascule.gateway.connections.rounds import Rounds
from bascule.gateway.life import Life
from bascule.gateway.listening.http import HttpServer
from bascule.gateway.listening.listener import Listener
from bascule.tasks import are_serving
from tests.gateway.fewwatches import no_watch_left
from tests.support.certificates import make_certificate
from tests.support.tlspeer import TlsPeer
from tests.support.waiting import eventually_async

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from bascule.gateway.listening.upgrade import UpgradeRequest


class _Failing(socket.socket):
    """A listening socket whose first connection is an error."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.bind(("127.0.0.1", 0))
        self.listen()
        self._errors = [OSError(number, "said by the kernel")]

    def _accept(self) -> tuple[int, Any]:
        if self._errors:
            raise self._errors.pop()
        return super()._accept()  # type: ignore[misc,no-any-return]


class _Noting(socket.socket):
    """A listening socket that tells of each connection before anything is done with it."""

    def __init__(self, accepted: Callable[[], None]) -> None:
        super().__init__()
        self.bind(("127.0.0.1", 0))
        self.listen()
        self.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 1)
        self._accepted = accepted

    def _accept(self) -> tuple[int, Any]:
        accepted = super()._accept()  # type: ignore[misc]
        self._accepted()
        return accepted  # type: ignore[no-any-return]


async def _plain(_: web.BaseRequest) -> web.StreamResponse:
    return web.Response(text="plain")


async def _no_upgrade(request: UpgradeRequest) -> None:
    raise AssertionError


@contextlib.asynccontextmanager
async def _listening(
    listening: socket.socket, limits: Limits, tls: ssl.SSLContext | None = None
) -> AsyncIterator[HttpServer]:
    config = Config(limits=limits)
    http = HttpServer(_plain, config, _no_upgrade, Life())
    listener = Listener(config, listening, http, _no_upgrade, tls)
    listener.start()
    try:
        yield http
    finally:
        listener.close()
        await http.shutdown(1.0)


async def _answer(listening: socket.socket, request: bytes, limits: Limits | None = None) -> bytes:
    """Return all that a listener says to a client."""
    async with _listening(listening, limits or Limits()), asyncio.timeout(5.0):
        reader, writer = await asyncio.open_connection(*listening.getsockname())
        writer.write(request)
        said = await reader.read()
        writer.close()
    return said


@pytest.mark.parametrize(
    "name",
    [
        *("ENETDOWN", "EPROTO", "ENOPROTOOPT", "EHOSTDOWN", "ENONET", "EHOSTUNREACH", "EOPNOTSUPP"),
        *("ENETUNREACH", "ECONNABORTED", "EINTR", "EPERM", "EMFILE", "ENFILE", "ENOBUFS", "ENOMEM"),
    ],
)
async def test_a_connection_that_cannot_be_accepted_does_not_stop_the_next(name: str) -> None:
    raised: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: raised.append(context))
    said = await _answer(
        _Failing(getattr(errno, name)), b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    )
    assert said.endswith(b"plain")
    assert raised == []


async def test_a_listener_that_the_loop_cannot_watch_accepts_a_little_later() -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    async with contextlib.AsyncExitStack() as running, asyncio.timeout(10):
        with no_watch_left():
            await running.enter_async_context(_listening(listening, Limits()))
        reader, writer = await asyncio.open_connection(*listening.getsockname())
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert (await reader.read()).endswith(b"plain")
        writer.close()


@pytest.mark.parametrize(
    "factory", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"]
)
@pytest.mark.parametrize(
    ("begin", "status", "detail"),
    [
        (bytes.fromhex("16030102000100 01fc0303"), b"400", b"This port speaks HTTP without TLS.\n"),
        (b"GET / HTTP/1.1\r\nCookie: ".ljust(2000, b"a"), b"431", b'"The request head is too large."}\n'),
    ],
    ids=["tls", "too large"],
)
def test_who_begins_with_no_head_is_told_at_once_and_nothing_fails(
    begin: bytes, status: bytes, detail: bytes, factory: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    """uvloop reports a failure when a protocol lets go of its transport within `connection_made`."""
    limits = Limits(request_head_bytes=1024)
    with structlog.testing.capture_logs() as logs, asyncio.Runner(loop_factory=factory) as runner:
        said = runner.run(_answer(socket.create_server(("127.0.0.1", 0)), begin, limits))
    assert said.startswith(b"HTTP/1.1 %b " % status)
    assert said.endswith(detail)
    assert logs == []


async def test_one_that_comes_with_its_whole_head_drops_nobody_who_is_still_sending_one() -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    address = listening.getsockname()
    limits = Limits(max_handshakes=1)
    async with _listening(listening, limits) as http, asyncio.timeout(5.0):
        slow, writer = await asyncio.open_connection(*address)
        writer.write(b"GET / HTTP/1.1\r\n")

        async def waits() -> bool:
            return len(http.waiting.newcomers) == 1

        await eventually_async(waits, 5, "the slow one is known")
        with socket.create_connection(address) as whole:
            whole.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            quick, other = await asyncio.open_connection(sock=whole.dup())
        assert (await quick.read()).endswith(b"plain")
        writer.write(b"Host: a\r\nConnection: close\r\n\r\n")
        assert (await slow.read()).endswith(b"plain")
        writer.close()
        other.close()


async def test_one_that_was_closed_before_it_began_accepts_nobody() -> None:
    http = HttpServer(_plain, Config(), _no_upgrade, Life())
    with socket.create_server(("127.0.0.1", 0)) as supervisors:
        listener = Listener(Config(), supervisors.dup(), http, _no_upgrade)
        listener.close()
        listener.start()
        with socket.create_connection(supervisors.getsockname(), 5.0) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            await asyncio.sleep(0.05)
            assert http.connections == []


async def test_the_rest_of_a_head_that_begins_as_another_gateway_takes_over_is_waited_for() -> None:
    waits: list[asyncio.Task[None]] = []
    listening = _Noting(lambda: waits.append(asyncio.create_task(http.wait_for_heads())))
    async with _listening(listening, Limits()) as http, asyncio.timeout(5.0):
        reader, writer = await asyncio.open_connection(*listening.getsockname())
        writer.write(b"GET / HTTP/1.1\r\n")
        await eventually_async(lambda: len(http.waiting.newcomers) == 1, 5, "a part of it is there")
        assert not waits[0].done()

        writer.write(b"Host: a\r\nConnection: close\r\n\r\n")
        await waits[0]

        assert not http.waiting.arriving
        assert (await reader.read()).endswith(b"plain")
        writer.close()


async def test_each_of_many_connections_lets_sessions_work(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[int] = []
    accepted: list[int] = []
    with _Noting(lambda: accepted.append(len(given))) as listening, contextlib.ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(socket.create_connection(listening.getsockname()))
        monkeypatch.setattr(os, "sched_yield", lambda: given.append(len(accepted)))
        async with _listening(listening, Limits()):
            await eventually_async(lambda: len(given) == 3, 10, "all are accepted")
        assert accepted == [0, 1, 2]


async def test_of_handshakes_that_come_at_once_few_go_on_in_a_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sessions with TLS get what was sent to them between the turns."""
    loop, tls = asyncio.get_running_loop(), make_certificate(tmp_path).server()
    turn, begun, gone_on = 0, set[int](), Counter[int]()
    shake = ssl.SSLObject.do_handshake

    def noted(it: ssl.SSLObject) -> None:
        if id(it) in begun:
            gone_on[turn] += 1
        begun.add(id(it))
        shake(it)

    def another_turn() -> None:
        nonlocal turn
        turn += 1
        loop.call_soon(another_turn)

    with socket.create_server(("127.0.0.1", 0)) as listening, contextlib.ExitStack() as clients:
        for _ in range(30):
            peer = clients.enter_context(contextlib.closing(TlsPeer()))
            client = clients.enter_context(socket.create_connection(listening.getsockname()))
            client.sendall(peer.greet()[1])
        monkeypatch.setattr(ssl.SSLObject, "do_handshake", noted)
        another_turn()
        async with _listening(listening, Limits(), tls):
            await eventually_async(lambda: gone_on.total() == 30, 10, "all are answered")
            assert max(gone_on.values()) == 4
            clients.close()
            await eventually_async(lambda: not are_serving(), 10, "all have left")


async def test_of_more_handshakes_at_once_than_may_be_under_way_none_is_dropped(tmp_path: Path) -> None:
    """Each new one would end the oldest, just before that one's turn."""
    certificate = make_certificate(tmp_path)
    tls, trusting = certificate.server(), certificate.client()

    async def is_answered(address: tuple[str, int]) -> bool:
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_connection(
                *address, ssl=trusting, server_hostname="localhost"
            )
            writer.write(b"GET / HTTP/1.0\r\n\r\n")
            said = await reader.read()
            writer.close()
            return said.startswith(b"HTTP/1.")
        return False

    with socket.create_server(("127.0.0.1", 0), backlog=200) as listening:
        asking = [asyncio.create_task(is_answered(listening.getsockname())) for _ in range(200)]
        await asyncio.wait(asking, timeout=0.2)  # all have greeted
        async with _listening(listening, Limits(max_handshakes=64), tls), asyncio.timeout(10):
            assert await asyncio.gather(*asking) == [True] * 200


async def test_the_wait_for_a_turn_at_tls_is_not_the_clients(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = make_certificate(tmp_path)

    async def turn(_: Rounds) -> None:
        await asyncio.sleep(0.4)

    monkeypatch.setattr(Rounds, "turn", turn)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        async with _listening(listening, Limits(handshake_timeout=0.3), certificate.server()):
            reader, writer = await asyncio.open_connection(
                *listening.getsockname(), ssl=certificate.client(), server_hostname="localhost"
            )
            writer.write(b"GET / HTTP/1.0\r\n\r\n")
            assert (await reader.read()).endswith(b"plain")
            writer.close()


async def test_a_client_that_went_on_with_tls_while_this_process_stood_still_is_served(
    tmp_path: Path,
) -> None:
    loop = asyncio.get_running_loop()
    tls = make_certificate(tmp_path).server()
    with socket.create_server(("127.0.0.1", 0)) as listening, contextlib.closing(TlsPeer()) as peer:
        async with _listening(listening, Limits(handshake_timeout=0.5), tls), asyncio.timeout(5.0):
            with socket.create_connection(listening.getsockname()) as client:
                client.setblocking(False)
                await loop.sock_sendall(client, peer.greet()[1])
                peer.take(await loop.sock_recv(client, 1 << 16))
                is_over, said = peer.greet()
                assert is_over
                await loop.sock_sendall(client, said)
                await loop.sock_sendall(client, peer.say(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"))
                time.sleep(1.5)  # noqa: ASYNC251 - this process stands still
                answer = b""
                while not answer.endswith(b"plain"):
                    heard = await loop.sock_recv(client, 1 << 16)
                    assert heard
                    peer.take(heard)
                    answer += peer.hear()[0]
