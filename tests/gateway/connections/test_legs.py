"""Whether a browser has left is seen without reading what it said."""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import closing

import pytest

from bascule.gateway.connections.legs import PlainLeg
from tests.support.waiting import eventually


@pytest.mark.parametrize("said", [b"", b"early"])
@pytest.mark.parametrize("how", ["closed", "half closed", "reset"])
async def test_a_browser_that_has_left_is_gone(said: bytes, how: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        browser = socket.create_connection(listener.getsockname())
        connection, _ = listener.accept()
    connection.setblocking(False)
    leg = PlainLeg(asyncio.get_running_loop(), connection)
    with closing(browser), closing(leg):
        browser.sendall(said)
        assert not leg.is_gone()
        if how == "half closed":
            browser.shutdown(socket.SHUT_WR)
        else:
            if how == "reset":
                browser.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            browser.close()
        eventually(leg.is_gone, 2, "the browser has left")
        if how != "reset":
            assert await leg.read() == said
