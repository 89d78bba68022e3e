"""The ingress pages' configurations in front of a real Bascule: a WebSocket goes through."""

import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve

from tests.chart.test_howto import block
from tests.support.bascule import RunningBascule
from tests.support.parts import require
from tests.support.processes import Service, reserve_port

pytestmark = [pytest.mark.real, pytest.mark.slow]

Start = Callable[..., RunningBascule]


async def echo(connection: ServerConnection) -> None:
    async for message in connection:
        await connection.send(message)


@pytest_asyncio.fixture
async def upstream() -> AsyncIterator[str]:
    async with serve(echo, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def listens(number: int) -> bool:
    with socket.socket() as caller:
        return caller.connect_ex(("127.0.0.1", number)) == 0


def port(address: str) -> str:
    return address.rpartition(":")[2]


@pytest.mark.parametrize("name", ["nginx", "haproxy"])
async def test_a_websocket_goes_through_the_pages_configuration(
    name: str, tmp_path: Path, bascule: Start, upstream: str
) -> None:
    running = bascule({"routes": [{"name": "echo", "path": "/", "upstream": upstream}]})
    front = reserve_port()
    command: list[str | Path]
    text = (
        block(f"behind-{name}.md", name)
        .replace("8000", str(front))
        .replace("127.0.0.1:8080", f"127.0.0.1:{port(running.public_url)}")
        .replace("port 8081", f"port {port(running.admin_url)}")
    )
    configuration = tmp_path / f"{name}.conf"
    if name == "nginx":
        # Debian's own places for these belong to root.
        places = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        paths = " ".join(f"{place}_temp_path {tmp_path}/{place};" for place in places)
        text = text.replace("http {\n", f"http {{ access_log off; {paths}\n")
        quiet = f"daemon off; pid {tmp_path}/pid; error_log stderr;"
        command = [require("nginx"), "-p", f"{tmp_path}/", "-c", configuration, "-g", quiet]
    else:
        command = [require("haproxy"), "-db", "-f", configuration]
    configuration.write_text(text, encoding="utf-8")
    service = Service(name, command, tmp_path / f"{name}.log", cwd=tmp_path)
    try:
        service.wait_until(lambda: listens(front), 15.0)
        async with connect(f"ws://127.0.0.1:{front}/x", origin=f"http://127.0.0.1:{front}") as browser:  # type: ignore[arg-type]
            await browser.send("hello")
            assert await browser.recv() == "hello"
            assert running.metric("ws_connection_in_flight_count") == 1
    finally:
        service.stop(10)
