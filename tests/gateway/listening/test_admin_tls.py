"""The admin listener over TLS: who is answered, and how many may be in a handshake."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from ipaddress import ip_network
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
import structlog
from aiohttp import web

from bascule.configuration.certificate import listener_context
from bascule.configuration.config import AdminTls, Config, Limits
from bascule.gateway.listening import admin as module
from bascule.gateway.listening.admin import AdminListener
from tests.support.authority import Authority, make_authority
from tests.support.waiting import eventually_async

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
    Open = Callable[[ssl.SSLContext | None], Awaitable[Streams]]

MOST = 3
REQUEST = b"GET /now HTTP/1.1\r\nHost: admin\r\n\r\n"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("authorities") / "ours")


async def _now(request: web.Request) -> web.Response:
    return web.Response(text=f"now {request.scheme}")


@pytest_asyncio.fixture
async def listener(
    monkeypatch: pytest.MonkeyPatch, authority: Authority, request: pytest.FixtureRequest
) -> AsyncIterator[tuple[AdminListener, Open]]:
    """Run a listener that asks for certificates, and return it and what connects to it."""
    monkeypatch.setattr(module, "MOST_IDLE", MOST)
    shown = authority.issue("admin")
    tls = AdminTls(certificate=shown.certificate, key=shown.key, client_ca=authority.ca)
    app = web.Application()
    app.router.add_get("/now", _now)
    limits = Limits(handshake_timeout=getattr(request, "param", 60.0))
    # What balancers put in front of connections is for the public listener alone.
    config = Config(limits=limits, proxy_protocol_from=(ip_network("127.0.0.0/8"),))
    running = AdminListener(app, config, listener_context(tls))
    listening = socket.create_server(("127.0.0.1", 0))
    address = listening.getsockname()
    await running.start(listening)
    async with contextlib.AsyncExitStack() as stack:

        async def opened(context: ssl.SSLContext | None) -> Streams:
            reader, writer = await asyncio.open_connection(*address, ssl=context)
            stack.callback(writer.close)
            return reader, writer

        yield running, opened
    await running.close()


@pytest.fixture
def known(authority: Authority) -> ssl.SSLContext:
    """Return the context of a client with a certificate."""
    return authority.client(authority.issue("caller"))


async def _asked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    writer.write(REQUEST)
    async with asyncio.timeout(5):
        return await reader.readuntil(b"now https")


async def _is_cut(reader: asyncio.StreamReader) -> bool:
    try:
        async with asyncio.timeout(5):
            return not await reader.read()
    except TimeoutError:
        return False
    except OSError:
        return True


async def test_who_shows_a_certificate_is_answered_and_nobody_else(
    listener: tuple[AdminListener, Open], authority: Authority, known: ssl.SSLContext
) -> None:
    _, connect = listener
    for context in (authority.client(), authority.client(authority.issue("late", expired=True))):
        with contextlib.suppress(OSError):
            reader, writer = await connect(context)
            writer.write(REQUEST)
            assert await _is_cut(reader)
    assert await _asked(*await connect(known))


async def test_why_a_certificate_is_not_accepted_is_said_once_a_minute_for_each_reason(
    listener: tuple[AdminListener, Open],
    authority: Authority,
    tmp_path: Path,
) -> None:
    _, connect = listener
    unknown = make_authority(tmp_path / "unknown").issue("caller")
    none, late, strange = (
        authority.client(),
        authority.client(authority.issue("late", expired=True)),
        authority.client(unknown),
    )
    with structlog.testing.capture_logs() as logs:
        for context in (none, late, late, strange, none):
            with contextlib.suppress(OSError):
                reader, _ = await connect(context)
                assert await _is_cut(reader)
        await eventually_async(lambda: len(logs) >= 3, 5, "all is said")
    said = {"event": "a certificate is not accepted", "log_level": "warning", "listener": "admin"}
    assert logs == [
        {**said, "client": "127.0.0.1", "problem": problem, "times": 1}
        for problem in (
            "the client shows no certificate",
            "the certificate has expired",
            "the certificate's CA is not trusted",
        )
    ]


async def test_who_speaks_no_tls_is_told_to_and_nothing_else(listener: tuple[AdminListener, Open]) -> None:
    _, connect = listener
    reader, writer = await connect(None)
    writer.write(REQUEST)
    async with asyncio.timeout(5):
        said = await reader.read()
    assert said.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert said.endswith(b"\r\n\r\nThis port speaks HTTP over TLS: use https.\n")


async def test_whoever_does_nothing_for_the_handshake_longest_goes(
    listener: tuple[AdminListener, Open], known: ssl.SSLContext
) -> None:
    running, connect = listener
    silent = [await connect(None) for _ in range(MOST + 1)]
    assert await _is_cut(silent[0][0])
    assert len(running.waiting.newcomers) == MOST
    assert await _asked(*await connect(known))
    assert await _is_cut(silent[1][0])


@pytest.mark.parametrize("listener", [0.3], indirect=True)
async def test_a_handshake_has_its_time(listener: tuple[AdminListener, Open]) -> None:
    _, connect = listener
    reader, _ = await connect(None)
    assert await _is_cut(reader)


async def test_whoever_says_nothing_behind_the_handshake_longest_goes(
    listener: tuple[AdminListener, Open], known: ssl.SSLContext
) -> None:
    running, connect = listener
    reader, _ = await connect(known)
    others = [await connect(known) for _ in range(MOST)]
    assert await _is_cut(reader)
    assert len(running.waiting.newcomers) == len(running.waiting.arriving) == 0
    for each in others:
        assert await _asked(*each)


async def test_a_listener_that_closes_waits_for_no_handshake(listener: tuple[AdminListener, Open]) -> None:
    running, connect = listener
    reader, _ = await connect(None)
    await eventually_async(lambda: len(running.waiting.newcomers) == 1, 5, "it has begun")
    async with asyncio.timeout(5):
        await running.close()
    assert await _is_cut(reader)
