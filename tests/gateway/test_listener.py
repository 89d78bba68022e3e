"""What accept(2) may report, and that the listener goes on with the next connection."""

from __future__ import annotations

import asyncio
import errno
import socket
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from bascule.gateway.http import HttpServer
from bascule.gateway.listener import Listener
from bascule.policy.config import Config

if TYPE_CHECKING:
    from bascule.gateway.legs import Leg
    from bascule.protocol.http1 import BadHead, RequestHead


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


async def _plain(_: web.BaseRequest) -> web.StreamResponse:
    return web.Response(text="plain")


async def _no_upgrade(leg: Leg, head: RequestHead | BadHead, early: bytes, peer: str, secure: bool) -> None:
    raise AssertionError


async def _answer(listening: socket.socket, request: bytes) -> bytes:
    """Return all that a listener says to a client."""
    http = HttpServer(_plain, Config(), _no_upgrade)
    listener = Listener(Config(), listening, http, _no_upgrade)
    listener.start()
    try:
        async with asyncio.timeout(5.0):
            reader, writer = await asyncio.open_connection(*listening.getsockname())
            writer.write(request)
            said = await reader.read()
            writer.close()
    finally:
        listener.close()
        await http.shutdown(1.0)
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


async def test_a_tls_client_on_the_plain_port_is_told_at_once() -> None:
    said = await _answer(socket.create_server(("127.0.0.1", 0)), bytes.fromhex("16030102000100 01fc0303"))
    assert said.startswith(b"HTTP/1.1 400 ")
    assert said.endswith(b"This port speaks HTTP without TLS.\n")


async def test_one_that_was_closed_before_it_began_accepts_nobody() -> None:
    http = HttpServer(_plain, Config(), _no_upgrade)
    with socket.create_server(("127.0.0.1", 0)) as supervisors:
        listener = Listener(Config(), supervisors.dup(), http, _no_upgrade)
        listener.close()
        listener.start()
        with socket.create_connection(supervisors.getsockname(), 5.0) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            await asyncio.sleep(0.05)
            assert http.connections == []
