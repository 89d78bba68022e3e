"""Two real Bascules under a small load, for drawing the dashboard.

One pod is asked for more sessions than its cap, the other for half of it and then
drained. Sessions send, idle, close or break off; some upgrades meet a dead upstream or
no route, and pages are read meanwhile. About a hundred sessions: enough to see every
panel move, too few to mean anything as a measurement.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import os
import random
import subprocess
import sys
import threading
import time
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import aiohttp
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed, WebSocketException

from dashboards.local_prometheus import poll

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from websockets.http11 import Request, Response

CAP = 60
POD_NAMES = ("hopsworks-instance-6f7d9c8b5-x2kqp", "hopsworks-instance-6f7d9c8b5-m8r4t")
WANTED = (84, 34)
"""Sessions asked for at the height, a pod: above the cap, and about half of it."""
KINDS = {"lab": "jupyter", "term": "terminal", "app": "app"}
STATUSES = ([200, 304, 404, 500], [70, 20, 8, 2])
"""Of the answers to plain requests, and how often each."""
DRAIN_AT = 0.75
"""When the second pod is drained, as a share of the time there is."""


@dataclass(frozen=True, slots=True)
class Pod:
    """A running proxy: ``host:port`` of both listeners."""

    public: str
    admin: str


@contextlib.contextmanager
def pods(folder: Path, seconds: float) -> Iterator[dict[str, str]]:
    """Run both pods under load and yield the addresses of their metrics by name.

    Args:
        folder: For configurations and logs.
        seconds: How long the load is meant to be watched.
    """
    ready = threading.Event()
    stop = threading.Event()
    upstream: list[int] = []
    running: list[Pod] = []

    def load() -> None:
        asyncio.run(_load(upstream, running, ready, stop, seconds))

    thread = threading.Thread(target=load)
    with contextlib.ExitStack() as stack:
        thread.start()
        stack.callback(thread.join)
        # Whatever fails in between, the load must not wait for ever.
        stack.callback(ready.set)
        stack.callback(stop.set)
        poll(lambda: bool(upstream), 10, "the echo upstream listening")
        running += [stack.enter_context(_bascule(folder / name, upstream[0])) for name in POD_NAMES]
        ready.set()
        yield {name: f"http://{pod.admin}/metrics" for name, pod in zip(POD_NAMES, running, strict=True)}


@contextlib.contextmanager
def _bascule(folder: Path, upstream: int) -> Iterator[Pod]:
    folder.mkdir()
    routes: list[dict[str, Any]] = [
        {"name": name, "kind": kind, "path": f"/{name}/", "upstream": f"http://127.0.0.1:{upstream}"}
        for name, kind in KINDS.items()
    ]
    # tcpmux: nobody listens there.
    routes.append({"name": "gone", "kind": "jupyter", "path": "/gone/", "upstream": "http://127.0.0.1:1"})
    config = {
        "listen": "127.0.0.1:0",
        "admin": "127.0.0.1:0",
        "websocketProxy": {"maxSessionsPerApp": CAP},
        "routes": routes,
        "drain": {"timeout": "25s", "rate": 3},
        "metrics": {"cpuWindow": "3s"},
        "log": {"format": "json"},
    }
    (folder / "config.yaml").write_text(json.dumps(config), encoding="utf-8")
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "bascule", "serve", "--config", str(folder / "config.yaml")],
            env={**os.environ, "HOSTNAME": folder.name},
            stdout=output,
            stderr=output,
        )
    try:
        poll(lambda: '"event":"listening"' in log.read_text(), 30, f"Bascule listening, see {log},")
        said = next(json.loads(line) for line in log.read_text().splitlines() if "listening" in line)
        yield Pod(said["public"], said["admin"])
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


async def _load(
    upstream: list[int], running: list[Pod], ready: threading.Event, stop: threading.Event, seconds: float
) -> None:
    async with (
        serve(_echo, "127.0.0.1", 0, process_request=_page, compression=None, ping_interval=None) as server,
        aiohttp.ClientSession() as browser,
    ):
        upstream.append(server.sockets[0].getsockname()[1])
        await asyncio.to_thread(ready.wait)
        begun = time.monotonic()
        counts = [0, 0]
        drained = False
        async with asyncio.TaskGroup() as group:
            while not stop.is_set():
                share = (time.monotonic() - begun) / seconds
                for index, pod in enumerate(running):
                    wave = min(1.0, 0.25 + 1.1 * math.sin(math.pi * min(1.0, share)))
                    while counts[index] < WANTED[index] * wave:
                        counts[index] += 1
                        stay = random.uniform(2, min(45.0, 0.35 * seconds))
                        group.create_task(_client(pod, index, counts, stop, stay))
                    group.create_task(_read_page(browser, pod))
                if share > DRAIN_AT and not drained:
                    drained = True
                    await asyncio.to_thread(_drain, running[1])
                await asyncio.sleep(0.25)


async def _echo(connection: ServerConnection) -> None:
    with contextlib.suppress(ConnectionClosed):
        async for message in connection:
            await connection.send(message * 4)  # kernels say more than browsers


def _page(connection: ServerConnection, request: Request) -> Response | None:
    """Answer a plain request with a status of ours."""
    if "Upgrade" in request.headers:
        return None
    statuses, often = STATUSES
    return connection.respond(random.choices(statuses, often)[0], "A page.\n" * 100)


async def _read_page(browser: aiohttp.ClientSession, pod: Pod) -> None:
    """Read one page, as every tab does now and then."""
    await asyncio.sleep(random.uniform(0, 0.25))
    with contextlib.suppress(aiohttp.ClientError):
        async with browser.get(f"http://{pod.public}/{random.choice([*KINDS])}/page") as answer:
            await answer.read()


async def _client(pod: Pod, index: int, counts: list[int], stop: threading.Event, stay: float) -> None:
    """Be one browser tab: open, send now and then, leave in one way or another."""
    name = random.choices(["lab", "term", "app", "gone", "nowhere"], [55, 12, 25, 4, 4])[0]
    leave_at = time.monotonic() + stay
    try:
        uri = f"ws://{pod.public}/{name}/channels"
        async with connect(uri, compression=None, ping_interval=None, open_timeout=20) as connection:
            while time.monotonic() < leave_at and not stop.is_set():
                await connection.send(bytes(random.choice([120, 900, 40_000])))
                await connection.recv()
                await asyncio.sleep(random.uniform(0.1, 1.2))
            if random.random() < 0.2:
                connection.transport.abort()
    except (OSError, WebSocketException, TimeoutError):
        await asyncio.sleep(random.uniform(1, 4))
    finally:
        counts[index] -= 1


def _drain(pod: Pod) -> None:
    request = urllib.request.Request(
        f"http://{pod.admin}/drain", method="POST", headers={"X-Bascule-Admin": "1"}
    )
    with urllib.request.urlopen(request, timeout=10):
        pass
