"""Connecting: what is there at once, what takes its time, and a Unix socket whose backlog is full."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from typing import TYPE_CHECKING

import pytest

from bascule.gateway.connections.connecting import (
    NONBLOCKING_STREAM,
    bare_socket,
    begin_connect,
    connect,
    full_socket,
    lacks_room,
)
from tests.support.deaf import deaf_port

if TYPE_CHECKING:
    from pathlib import Path


def listening(path: Path, backlog: int = 8) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen(backlog)
    return listener


async def test_a_unix_socket_connects_at_once(socket_folder: Path) -> None:
    path = socket_folder / "s"
    with listening(path), socket.socket(socket.AF_UNIX, NONBLOCKING_STREAM) as connection:
        assert begin_connect(connection, str(path))


async def test_one_whose_backlog_is_full_is_asked_again_until_it_has_room(socket_folder: Path) -> None:
    path = socket_folder / "s"
    with listening(path, 0) as listener, socket.socket(socket.AF_UNIX) as first:
        first.connect(str(path))
        with socket.socket(socket.AF_UNIX, NONBLOCKING_STREAM) as connection:
            waiting = asyncio.ensure_future(connect(connection, str(path)))
            await asyncio.sleep(0.1)
            assert not waiting.done()
            listener.accept()[0].close()
            await asyncio.wait_for(waiting, 5)
            connection.send(b"x")
            with listener.accept()[0] as accepted:
                assert accepted.recv(1) == b"x"


@pytest.mark.parametrize(("is_there", "number"), [(False, errno.ENOENT), (True, errno.ECONNREFUSED)])
async def test_one_that_nobody_serves_fails(socket_folder: Path, is_there: bool, number: int) -> None:
    path = socket_folder / "s"
    if is_there:
        listening(path).close()
    with (
        socket.socket(socket.AF_UNIX, NONBLOCKING_STREAM) as connection,
        pytest.raises(OSError) as failed,  # noqa: PT011 - the number is compared
    ):
        await connect(connection, str(path))
    assert failed.value.errno == number


async def test_an_address_that_says_nothing_is_waited_for() -> None:
    with (
        deaf_port() as port,
        socket.socket(socket.AF_INET, NONBLOCKING_STREAM) as connection,
        pytest.raises(TimeoutError),
    ):
        await asyncio.wait_for(connect(connection, ("127.0.0.1", port)), 0.1)


@pytest.mark.parametrize(
    "number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.EADDRNOTAVAIL]
)
def test_what_this_host_lacks_is_no_fault_of_the_upstream(number: int) -> None:
    assert lacks_room(OSError(number, "connect"))


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ECONNREFUSED, "connect"),
        OSError(errno.EHOSTUNREACH, "connect"),
        TimeoutError(),
        ssl.SSLError(errno.ENOMEM, "OpenSSL numbers its errors by itself"),
    ],
)
def test_what_the_upstream_or_the_way_there_lacks_is_none_of_this_host(error: OSError) -> None:
    assert not lacks_room(error)


def test_a_bare_socket_becomes_a_full_one_of_the_same_connection() -> None:
    bare = bare_socket(socket.AF_INET, NONBLOCKING_STREAM)
    bare.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 77)
    descriptor = bare.fileno()
    with full_socket(bare) as full:
        assert (full.fileno(), bare.fileno()) == (descriptor, -1)
        assert full.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 77
        assert (full.family, full.type, full.gettimeout()) == (socket.AF_INET, socket.SOCK_STREAM, 0.0)
        bare.close()  # it is nobody's any more
        full.getsockname()
