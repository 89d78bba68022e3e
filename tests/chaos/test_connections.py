"""The kernel says whose a connection is, and whether it was ended."""

from __future__ import annotations

import os
import socket
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.chaos.connections import accepted, far_inode, near_end, unended
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.chaos.connections import Address


@pytest.fixture(params=["a port", "a Unix socket"])
def listener(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[socket.socket]:
    is_unix = request.param == "a Unix socket"
    with socket.socket(socket.AF_UNIX if is_unix else socket.AF_INET) as listener:
        listener.bind(f"{tmp_path}/listener.sock" if is_unix else ("127.0.0.1", 0))
        listener.listen()
        yield listener


def test_connections_are_told_by_whom_and_counted_until_they_are_ended(listener: socket.socket) -> None:
    name = listener.getsockname()
    address: Address = name if isinstance(name, str) else name[1]
    with ExitStack() as stack:
        clients = [stack.enter_context(socket.socket(listener.family)) for _ in range(3)]
        far_ends = {}
        for client in clients:
            client.connect(name)
            near = stack.enter_context(listener.accept()[0])
            far_ends[os.fstat(near.fileno()).st_ino] = near_end(client)
        assert accepted(address) == far_ends
        assert [far_inode(address, client) for client in clients] == list(far_ends)
        assert unended(address) == 3
        clients[0].shutdown(socket.SHUT_WR)
        eventually(lambda: unended(address) == 2, 5, "one is half closed")
        clients[1].close()
        eventually(lambda: unended(address) == 1, 5, "another one is closed")
        assert near_end(clients[2]) in accepted(address).values()
