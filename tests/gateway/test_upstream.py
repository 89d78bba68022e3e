"""Dialling an upstream whose name has several addresses."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING, Any

import pytest

from bascule.gateway.upstream import Answered, Dialler, Unreachable
from bascule.policy.config import Config, Limits
from bascule.policy.routes import UpstreamAddress
from bascule.protocol.handshake import Offer

if TYPE_CHECKING:
    from collections.abc import Iterator

OFFER = Offer(b"", (), frozenset(), b"front", None)
SILENT, SPEAKING = "127.0.0.2", "127.0.0.3"


@pytest.fixture
def silent_port() -> Iterator[int]:
    """Fill the backlog of a listener on one address; it takes no further connection."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind((SILENT, 0))
        listener.listen(0)
        port: int = listener.getsockname()[1]
        for _ in range(8):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex((SILENT, port))
        yield port


def resolve_to(monkeypatch: pytest.MonkeyPatch, *hosts: str) -> None:
    async def resolve(_host: str, port: int, **_: object) -> list[tuple[Any, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port)) for host in hosts]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolve)


async def dial(port: int) -> int:
    """Return the status that the upstream answers."""
    dialler = Dialler(Config(limits=Limits(connect_timeout=1.0, upstream_handshake_timeout=5.0)))
    opened = await dialler.open(UpstreamAddress("http", "apps", port, b"apps"), b"/", [], OFFER)
    opened.leg.close()
    assert isinstance(opened, Answered)
    return opened.head.status


async def test_an_address_that_says_nothing_leaves_time_for_the_next(
    monkeypatch: pytest.MonkeyPatch, silent_port: int
) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    resolve_to(monkeypatch, SILENT, SPEAKING)
    async with await asyncio.start_server(answer, SPEAKING, silent_port):
        for _ in range(2):  # the second time the name is known
            assert await dial(silent_port) == 404


async def test_addresses_that_all_say_nothing_take_no_longer_than_one(
    monkeypatch: pytest.MonkeyPatch, silent_port: int
) -> None:
    resolve_to(monkeypatch, SILENT, SILENT, SILENT)
    async with asyncio.timeout(1.8):
        with pytest.raises(Unreachable, match="connect timed out"):
            await dial(silent_port)
