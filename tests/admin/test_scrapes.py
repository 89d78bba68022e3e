"""Who is waited for at the end of a stop. With real processes: tests/rehearsals/test_drain.py."""

from __future__ import annotations

import asyncio
import socket
import time
from typing import TYPE_CHECKING

from aiohttp import web

from bascule.admin.api import Administration
from bascule.admin.scrapes import RECENT, Scrapes
from tests.admin.fake_view import FakeView, config

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

LONG = 30.0


async def test_nobody_who_has_not_read_is_waited_for() -> None:
    async with asyncio.timeout(1):
        await Scrapes().wait_again(LONG)


async def test_without_a_time_nobody_is_waited_for() -> None:
    scrapes = Scrapes()
    scrapes.note("192.0.2.1")
    async with asyncio.timeout(1):
        await scrapes.wait_again(0)


async def test_each_recent_reader_is_waited_for() -> None:
    scrapes = Scrapes()
    for reader in ("192.0.2.1", "192.0.2.2"):
        scrapes.note(reader)
    waiting = asyncio.create_task(scrapes.wait_again(LONG))
    for reader in ("192.0.2.1", "192.0.2.1", "192.0.2.3"):
        await asyncio.sleep(0)
        scrapes.note(reader)
    for _ in range(5):
        await asyncio.sleep(0)
    assert not waiting.done()
    scrapes.note("192.0.2.2")
    async with asyncio.timeout(1):
        await waiting


async def test_who_has_not_read_for_a_while_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    scrapes = Scrapes()
    scrapes.note("192.0.2.1")
    later = time.monotonic() + RECENT + 1
    monkeypatch.setattr(time, "monotonic", lambda: later)
    async with asyncio.timeout(1):
        await scrapes.wait_again(LONG)


async def test_a_wait_has_an_end() -> None:
    scrapes = Scrapes()
    scrapes.note("192.0.2.1")
    began = time.monotonic()
    await scrapes.wait_again(0.05)
    assert 0.04 < time.monotonic() - began < 10


async def test_another_gateway_goes_on_with_the_readers_of_this_one() -> None:
    left, taken = Scrapes(), Scrapes()
    left.note("192.0.2.1")
    taken.restore(left.dump())
    waiting = asyncio.create_task(taken.wait_again(LONG))
    await asyncio.sleep(0)
    assert not waiting.done()
    taken.note("192.0.2.1")
    await waiting


def test_readers_without_number_are_not_remembered() -> None:
    scrapes = Scrapes()
    for number in range(1000):
        scrapes.note(f"2001:db8::{number}")
    kept = scrapes.dump()
    assert len(kept) == 64
    assert list(kept) == [f"2001:db8::{number}" for number in range(936, 1000)]


async def test_at_a_unix_socket_all_readers_are_one_whatever_they_call_themselves(tmp_path: Path) -> None:
    """Each name that somebody chose would be waited for at the end."""
    administration = Administration(FakeView(config()))
    runner = web.AppRunner(administration.app)
    await runner.setup()
    path = str(tmp_path / "admin.sock")
    try:
        await web.UnixSite(runner, path).start()
        for name in ("", str(tmp_path / "192.0.2.1"), f"\0{tmp_path}"):
            with socket.socket(socket.AF_UNIX) as connection:
                if name:
                    connection.bind(name)
                connection.connect(path)
                connection.setblocking(False)
                reader, writer = await asyncio.open_unix_connection(sock=connection)
                writer.write(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
                assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
                writer.close()
    finally:
        await runner.cleanup()
    assert list(administration.scrapes.dump()) == ["unix:"]
