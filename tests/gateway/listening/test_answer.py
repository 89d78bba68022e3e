"""Answers to upgrades that become no session, on legs that are slow to take them."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

import pytest

from bascule.errors import RequestRefused
from bascule.gateway.connections import farewell
from bascule.gateway.connections.legs import PlainLeg
from bascule.gateway.listening.answer import error_answer, relay_answer
from bascule.gateway.tls.handshake import accept_tls
from bascule.gateway.tls.pumpedleg import PumpedLeg
from bascule.gateway.upstreams.handshake import Answered
from bascule.protocol.body import framing_of
from bascule.protocol.http1 import ResponseHead
from tests.support.certificates import make_certificate
from tests.support.farends import fill, tcp_pair, unix_pair

if TYPE_CHECKING:
    from pathlib import Path


async def test_an_answer_over_tls_reaches_a_client_that_reads_late(tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path)
    leg = PumpedLeg()
    loop = asyncio.get_running_loop()
    body = bytes(range(256)) * (1 << 12)
    head = ResponseHead(1, 200, b"OK", [(b"Content-Length", b"%d" % len(body))])
    ours, theirs = socket.socketpair()
    with ours, theirs:
        upstream = PlainLeg(loop, ours)
        here, there = tcp_pair()
        # What the kernel does not take waits in the process when the leg is closed.
        here.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16384)
        accepting = asyncio.ensure_future(accept_tls(here, certificate.server(), lambda: leg))
        reader, writer = await asyncio.open_connection(
            sock=there, ssl=certificate.client(), server_hostname="localhost", limit=1024
        )
        (await accepting).set_write_buffer_limits(high=1 << 24)
        await relay_answer(leg, Answered(upstream, head, body, framing_of(head)), 30)
        async with asyncio.timeout(10):
            got = await reader.read(-1)
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
    assert got.startswith(b"HTTP/1.1 200 OK\r\n")
    assert got.partition(b"\r\n\r\n")[2] == body


async def test_an_answer_of_ours_says_when_and_is_no_guess_of_what_it_is() -> None:
    leg = Tireless()
    await error_answer(leg, RequestRefused(403, "No.", ((b"X-A", b"b"),)))
    head, _, body = leg.written.partition(b"\r\n\r\n")
    start, *lines = head.decode().split("\r\n")
    fields = dict(line.split(": ", 1) for line in lines)
    assert (start, body) == ("HTTP/1.1 403 Forbidden", b"No.\n")
    assert abs(parsedate_to_datetime(fields.pop("Date")).timestamp() - time.time()) < 5
    assert fields == {
        "Content-Type": "text/plain; charset=utf-8", "Content-Length": "4", "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff", "Connection": "close", "X-A": "b",
    }  # fmt: skip


async def test_a_client_that_makes_no_room_for_an_answer_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It has left the answers before this one unread."""
    monkeypatch.setattr(farewell, "FAREWELL_SECONDS", 0.1)
    ours, theirs = unix_pair()
    with theirs:
        fill(ours)
        leg = PlainLeg(asyncio.get_running_loop(), ours)
        answering = asyncio.create_task(error_answer(leg, RequestRefused(403, "No.")))
        await asyncio.wait([answering], timeout=5)
        assert isinstance(answering.exception(), OSError)
    assert ours.fileno() < 0


@pytest.mark.parametrize("date", [b"Mon, 01 Jan 2024 00:00:00 GMT", None])
async def test_a_relayed_answer_says_when_and_the_upstreams_word_counts(date: bytes | None) -> None:
    browser = Tireless()
    head = ResponseHead(1, 403, b"No", [(b"Content-Length", b"0"), *([(b"Date", date)] if date else [])])
    await relay_answer(browser, Answered(Tireless(), head, b"", framing_of(head)), 5)
    start, *lines = browser.written.removesuffix(b"\r\n\r\n").split(b"\r\n")
    assert start == b"HTTP/1.1 403 No"
    fields = dict(line.split(b": ", 1) for line in lines)
    said = fields.pop(b"Date")
    assert fields == {b"Content-Length": b"0", b"Connection": b"close"}
    if date is None:
        assert abs(parsedate_to_datetime(said.decode()).timestamp() - time.time()) < 5
    else:
        assert said == date


class Tireless:
    """A leg that always has something to say and room for more, as on a network faster than we are."""

    def __init__(self) -> None:
        self.closed = False
        self.written = b""

    async def read(self) -> bytes:
        return b"x" * 16384

    def write_now(self, data: bytes) -> bytes:
        return data

    async def write(self, data: bytes) -> None:
        if len(self.written) < 4096:
            self.written += data

    def let_go(self) -> socket.socket:
        raise NotImplementedError

    def end(self) -> None:
        """There is no half of it."""

    def close(self) -> None:
        self.closed = True

    def reset(self) -> None:
        self.closed = True

    def is_gone(self) -> bool:
        return False

    def interrupt(self) -> None:
        """There is nothing to interrupt."""


async def test_an_endless_answer_between_fast_peers_has_a_deadline_all_the_same() -> None:
    browser, upstream = Tireless(), Tireless()
    head = ResponseHead(1, 200, b"OK", [])
    await relay_answer(browser, Answered(upstream, head, b"", framing_of(head)), 0.1)
    assert browser.closed
    assert upstream.closed
