"""The operators' pages in front of a real Bascule: configurations of ingresses, and calls of its APIs."""

import os
import re
import socket
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve

from tests.chart.test_howto import block
from tests.support.bascule import RunningBascule
from tests.support.parts import ROOT, require
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


def calls() -> list[tuple[str, str]]:
    """Return every line of the operators' pages that asks a proxy something with curl."""
    pages = [*(ROOT / "docs" / "howto").glob("*.md"), *(ROOT / "docs" / "runbooks").glob("*.md")]
    return [
        (page.name, line.strip().removeprefix("$ "))
        for page in sorted(pages)
        for text in re.findall(r"```(?:sh|console)\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
        for line in text.splitlines()
        if re.match(r"\s*(\$ )?curl ", line)
    ]


def test_there_are_calls_in_the_pages() -> None:
    assert len(calls()) >= 9


@pytest.mark.parametrize("guarded", [False, True], ids=["loopback", "token"])
def test_a_call_of_the_pages_is_answered(guarded: bool, bascule: Start, upstream: str) -> None:
    require("curl")
    # A drain cannot be taken back, so it is the last thing asked.
    mine = sorted(
        (call for call in calls() if ("$TOKEN" in call[1]) == guarded), key=lambda call: "/drain" in call[1]
    )
    running = bascule(
        {
            "routes": [{"name": "echo", "path": "/echo", "upstream": upstream}],
            "drain": {"timeout": 3},
            **({"adminToken": "the operator's token"} if guarded else {}),
        }
    )
    for page, call in mine:
        command = (
            call.replace("http://127.0.0.1:8080", running.public_url)
            .replace("http://127.0.0.1:8081", running.admin_url)
            .replace("curl ", "curl --fail-with-body ")
        )
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-ec", command],
            env={**os.environ, "TOKEN": "the operator's token"},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert done.returncode == 0, (page, call, done.stdout + done.stderr)
        assert done.stdout, (page, call)
